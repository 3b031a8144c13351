"""`AnswerFormat`: answers as objects of a class, instead of text."""

import re
from typing import Any, Final, Generic, TypeVar

import msgspec

from openai_runs._wire.hints import name_of
from openai_runs.errors import AnswerError, snippet
from openai_runs.models.message import Message, RefusalContent
from openai_runs.models.tool import JsonSchema, JsonSchemaFormat
from openai_runs.toolbox.json_models import decode_json_model
from openai_runs.toolbox.misfits import misfit
from openai_runs.toolbox.type_schemas import schema_of, strict_schema
from openai_runs.toolbox.unreadable import check_readable

T = TypeVar("T")


class AnswerFormat(Generic[T]):
    """A class that answers are objects of: the ``response_format`` for the model, and the way back from its text.

    The class is an attrs class, a dataclass, a `TypedDict`, a `msgspec.Struct` or a pydantic model. Its fields may have
    all types that parameters of a tool may have. The model sees its name, its docstring and its fields;
    ``Annotated[int, msgspec.Meta(description="In degrees Celsius.")]`` describes a field.

    Attributes:
        response_format: For ``response_format=`` of an assistant, a run or a job.
    """

    def __init__(self, into: type[T], *, name: str | None = None, strict: bool = True) -> None:
        """Make the schema.

        Args:
            into: The class.
            name: What the model is told that it writes; the class's name by default.
            strict: Whether the endpoint is to keep the model to the schema. Then every field has to be filled in, so
                annotate those that are optional with ``| None``. Some endpoints know no strict mode.

        Raises:
            TypeError: There is no schema for the class, or its objects are not JSON objects.
        """
        self._called: Final = name_of(into)
        schema = self._schema(into, strict=strict)
        self._decoder: Final[msgspec.json.Decoder[T]] = msgspec.json.Decoder(into, dec_hook=decode_json_model)
        # The API allows these characters only; pydantic's names, such as `Box[int]`, have others.
        fitting = re.sub(r"[^a-zA-Z0-9_-]", "_", name or self._called)[:64]
        self.response_format: Final = JsonSchemaFormat(
            json_schema=JsonSchema(name=fitting, schema=schema, strict=strict)
        )

    def __repr__(self) -> str:
        return f"AnswerFormat({self._called})"

    def _schema(self, into: Any, *, strict: bool) -> dict[str, Any]:
        check_readable(into, f"{self._called} cannot be read from JSON")
        schema = schema_of(into)
        if schema.get("type") != "object":
            raise TypeError(f"an answer is a JSON object, which {self._called} is not: make it a field of a class")
        schema.pop("title", None)  # redundant: the format has a name
        return strict_schema(schema, self._called) if strict else schema

    def parse(self, answer: Message | str) -> T:
        """Make an object of an answer.

        Args:
            answer: A message of the assistant, or its text.

        Raises:
            AnswerError: It is a refusal, was cut off, or does not fit the class; the error says where it does not.
        """
        text, what = (answer, "the answer") if isinstance(answer, str) else (answer.text, f"message {answer.id}")
        refusal = "" if isinstance(answer, str) else _refusal(answer)
        if refusal:
            raise AnswerError(f"{what} is a refusal: {snippet(refusal)!r}", text=text, refusal=refusal)
        try:
            return self._decoder.decode(text)
        except Exception as error:  # from msgspec, or from the caller's class, which may check its values
            cut = "" if isinstance(answer, str) else _cut_off(answer)
            schema = self.response_format.json_schema.schema
            problem = snippet(misfit(error, str(error), whole="it", schema=schema))
            raise AnswerError(
                f"{what} does not fit {self._called}: {cut}{problem}; its text is {snippet(text)!r}", text=text
            ) from error


def _refusal(message: Message) -> str:
    return "".join(part.refusal for part in message.content if isinstance(part, RefusalContent))


def _cut_off(message: Message) -> str:
    if message.status != "incomplete":
        return ""
    reason = message.incomplete_details and message.incomplete_details.reason
    return f"it was cut off ({reason or 'no reason given'}), so "
