"""`AnswerFormat`: answers as objects of a class."""

import dataclasses
from datetime import UTC, date, datetime
from typing import Annotated, Any, Generic, Literal, TypedDict, TypeVar, Union

import attrs
import jsonschema_rs
import msgspec
import pydantic
import pytest

from openai_runs import AnswerFormat, Message, Session
from openai_runs.backends.schema_samples import sample
from openai_runs.errors import AnswerError, OpenAIRunsError
from openai_runs.models.message import (
    Content,
    MessageIncompleteDetails,
    MessageRole,
    MessageStatus,
    RefusalContent,
    Text,
    TextContent,
)
from openai_runs.models.tool import JsonSchemaFormat

T = TypeVar("T")


@attrs.frozen
class Wind:
    speed: float
    to: "Wind | None" = None  # it turns


@attrs.frozen
class Weather:
    """The weather in a place."""

    city: str
    sky: Literal["clear", "cloudy"]
    degrees: Annotated[int, msgspec.Meta(ge=-90, le=60, description="In degrees Celsius.")]
    winds: tuple[Wind, ...] = ()


@dataclasses.dataclass
class Trip:
    when: date
    weather: Weather | None = None


class Count(TypedDict):
    words: int


class Struct(msgspec.Struct):
    counts: list[Count]


class Rating(pydantic.BaseModel):
    stars: int = pydantic.Field(ge=1, le=5)
    parts: "list[Rating]" = []


@attrs.frozen
class Box(Generic[T]):
    inside: T


CLASSES = [Weather, Trip, Count, Struct, Rating, Box[int], Box[Rating]]


def message(*content: Content, **fields: Any) -> Message:
    return Message(
        id="msg_1",
        thread_id="thread_1",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        role=MessageRole.ASSISTANT,
        content=content,
        **fields,
    )


def text(value: str) -> TextContent:
    return TextContent(text=Text(value=value))


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("strict", [True, False])
def test_what_fits_the_schema_is_read(cls: Any, strict: bool) -> None:
    """Whatever kind of class it is, the model is told a schema whose values become objects of the class."""
    answer_format: AnswerFormat[Any] = AnswerFormat(cls, strict=strict)
    assert isinstance(answer_format.response_format, JsonSchemaFormat)
    told = answer_format.response_format.json_schema
    assert told.strict is strict
    assert told.schema is not None
    assert told.schema["type"] == "object"
    value = sample(told.schema)
    assert jsonschema_rs.is_valid(dict(told.schema), value)
    kind = dict if cls is Count else getattr(cls, "__origin__", cls)
    assert isinstance(answer_format.parse(msgspec.json.encode(value).decode()), kind)


def test_what_the_model_is_told() -> None:
    """The class's name, docstring and fields, which are all required in strict mode."""
    told = AnswerFormat(Weather).response_format.json_schema
    assert told.name == "Weather"
    assert told.schema is not None
    assert told.schema["description"] == "The weather in a place."
    assert told.schema["required"] == ["city", "sky", "degrees", "winds"]
    assert told.schema["additionalProperties"] is False
    assert told.schema["properties"]["degrees"]["description"] == "In degrees Celsius."
    loose = AnswerFormat(Weather, strict=False).response_format.json_schema.schema
    assert loose is not None
    assert loose["required"] == ["city", "sky", "degrees"]


@pytest.mark.parametrize(
    ("name", "told"), [(None, "Box"), ("Box[int]", "Box_int_"), ("a b/c", "a_b_c"), ("x" * 70, "x" * 64)]
)
def test_name(name: str | None, told: str) -> None:
    """It has the characters and the length that the API allows."""
    assert AnswerFormat(Box[int], name=name).response_format.json_schema.name == told


@pytest.mark.parametrize(
    ("into", "reason"),
    [
        (list[Weather], "an answer is a JSON object, which list is not: make it a field of a class"),
        (Weather | None, "an answer is a JSON object, which .*None.* is not"),
        (Union[Weather, None], "an answer is a JSON object, which .*Weather.* is not"),  # noqa: UP007  # as old code has it
        (dict[str, int], "dict may have any keys, which strict=True forbids: name them in a class"),
        (object, "object cannot be read from JSON"),
        ("Wether", "Wether cannot be read from JSON"),
    ],
)
def test_a_class_without_a_schema(into: Any, reason: str) -> None:
    """It is refused before anything is asked, and the error says what to do."""
    with pytest.raises(TypeError, match=reason):
        AnswerFormat(into)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('{"city": "Oslo", "sky": "clear", "degrees": "7"}', "Weather: degrees must be an integer: got a string; "),
        (
            '{"city": "Oslo", "sky": "clear", "degrees": 7, "winds": [{"speed": 1, "to": []}]}',
            r"Weather: winds\[0\]\.to must be an object or null: got an array; ",
        ),
        (
            '{"city": "Oslo", "sky": "green", "degrees": 7}',
            """Weather: sky must be one of "clear", "cloudy": got 'green'; """,
        ),
        ('{"city": "Oslo", "sky": "clear", "degrees": 70}', "degrees must be an integer <= 60; "),
        ('{"city": "Oslo"}', "sky is missing; "),
        ("It is warm.", "the JSON is malformed: invalid character"),
        ("[" * 100_000, "does not fit"),
        ("", "the JSON ends too early; its text is ''"),
    ],
)
def test_an_answer_that_does_not_fit(answer: str, reason: str) -> None:
    """The error names the place, and shows what came back; the whole text is in its attribute."""
    for given in answer, message(text(answer), status=MessageStatus.COMPLETED):
        with pytest.raises(AnswerError, match="does not fit Weather: ") as caught:
            AnswerFormat(Weather).parse(given)
        assert caught.match(reason)
        assert len(str(caught.value)) < 600
        assert repr(answer[:100])[1:-1] in str(caught.value)
        assert caught.value.text == answer
        assert caught.value.refusal is None
        assert isinstance(caught.value, OpenAIRunsError)


def test_an_answer_that_pydantic_refuses() -> None:
    """Its own checks count, and its error is the cause."""
    with pytest.raises(
        AnswerError, match=r"does not fit Rating: stars: Input should be less than or equal to 5; its"
    ) as caught:
        AnswerFormat(Rating).parse('{"stars": 6}')
    assert caught.value.__cause__ is not None


def test_a_class_that_checks_its_values() -> None:
    """Whatever it raises, the answer does not fit it."""

    @dataclasses.dataclass
    class Odd:
        number: int

        def __post_init__(self) -> None:
            raise LookupError(f"{self.number} is not odd")

    with pytest.raises(AnswerError, match=r"does not fit Odd: .*2 is not odd"):
        AnswerFormat(Odd).parse('{"number": 2}')


def test_a_refusal() -> None:
    """It is no answer, whatever else the message has in it; the error has the model's words."""
    refused = message(RefusalContent(refusal="I cannot "), RefusalContent(refusal="help with that."), text("{}"))
    with pytest.raises(AnswerError, match=r"message msg_1 is a refusal: 'I cannot help with that\.'") as caught:
        AnswerFormat(Count).parse(refused)
    assert caught.value.refusal == "I cannot help with that."
    assert caught.value.text == "{}"


@pytest.mark.parametrize(
    ("details", "reason"),
    [(MessageIncompleteDetails(reason="max_tokens"), "max_tokens"), (None, "no reason given")],
)
def test_an_answer_that_was_cut_off(details: MessageIncompleteDetails | None, reason: str) -> None:
    """The error says so, since neither the class nor the model is to blame."""
    cut = message(text('{"words"'), status=MessageStatus.INCOMPLETE, incomplete_details=details)
    with pytest.raises(
        AnswerError, match=rf"message msg_1 does not fit Count: it was cut off \({reason}\), so the JSON ends"
    ):
        AnswerFormat(Count).parse(cut)


@pytest.mark.anyio
async def test_an_answer_of_a_run(session: Session) -> None:
    """The format goes to the endpoint and comes back as an object of the class."""
    answer_format = AnswerFormat(Weather)
    assistant = await session.assistants.create(model="scripted")
    run = await session.threads.create_and_run(
        assistant_id=assistant.id,
        thread={"messages": [{"role": "user", "content": "What is the weather in Oslo?"}]},
        response_format=answer_format.response_format,
    )
    run = await session.runs.complete(run)
    assert run.response_format == answer_format.response_format
    [answer] = (await session.messages.list(run.thread_id, run_id=run.id).page()).data
    assert answer_format.parse(answer).city == "Oslo"


@pytest.mark.anyio
@pytest.mark.parametrize("given", [Weather, AnswerFormat(Weather)])
async def test_the_format_itself(session: Session, given: Any) -> None:
    """Whoever passes it, or the class, instead of its `response_format` is told so."""
    with pytest.raises(
        TypeError, match=r"response_format must be .*such as AnswerFormat\(…\)\.response_format"
    ) as caught:
        await session.assistants.create(model="m", response_format=given)
    assert repr(given) in str(caught.value)
