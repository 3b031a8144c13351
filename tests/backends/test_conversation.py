"""What every live model gets of a conversation."""

import pytest

from openai_runs import _wire
from openai_runs.backends.conversation import (
    NO_OUTPUT,
    CallIds,
    arguments_of,
    output_of,
    text_of,
    within_tokens,
    without_older_half,
)
from openai_runs.models.message import CitedFile, FileCitation, FilePath, RefusalContent, Text, TextContent
from tests.backends.requests import assistant, call, image_url, step, user


def test_a_message_is_all_its_words() -> None:
    message = assistant("One.", RefusalContent(refusal="No."), "")
    assert text_of(message) == "One.\n\nNo."


def test_citation_marks_are_not_told_to_the_model() -> None:
    """A model would imitate citation markers; other annotated text stays, and so do markers in unexpected places."""
    cited = CitedFile(file_id="file-1")
    text = Text(
        value="A【0:0†a】 and B【1:0†b】, see sandbox:/x",
        annotations=(
            FileCitation(text="【0:0†a】", file_citation=cited, start_index=1, end_index=8),
            FileCitation(text="【1:0†b】", file_citation=cited, start_index=14, end_index=21),
            FileCitation(text="【2:0†c】", file_citation=cited, start_index=0, end_index=7),
            FilePath(text="sandbox:/x", file_path=cited, start_index=27, end_index=37),
        ),
    )
    assert text_of(assistant(TextContent(text=text))) == "A and B, see sandbox:/x"


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ('{"city":"Oslo"}', {"city": "Oslo"}),
        ("", {}),
        ("  ", {}),
        ('{"city": ', {"arguments": '{"city": '}),
        ("[1]", {"arguments": "[1]"}),
    ],
)
def test_arguments_are_sent_as_an_object_whatever_the_model_wrote(written: str, sent: object) -> None:
    assert _wire.decode(arguments_of(call(arguments=written))) == sent


def test_a_call_without_an_output_has_one_all_the_same() -> None:
    assert output_of(call(output=None)) == NO_OUTPUT
    assert output_of(call(output="")) == ""


def test_call_ids_are_kept_if_they_will_do() -> None:
    ids = CallIds(64)
    given = [ids(id) for id in ("call_0", "call_0", "call_0", "call_1", "", "x" * 65)]
    assert given[0] == "call_0"
    assert len(set(given)) == len(given)
    assert all(0 < len(id) <= 64 for id in given)
    assert ids("y" * 65, is_endpoints_own=True) == "y" * 65  # a model may remember an ID that its endpoint has issued
    assert CallIds()("x" * 65) == "x" * 65


def test_shortening_leaves_out_the_older_half_by_turns() -> None:
    items = [user("1"), assistant("2"), user("3"), step(call()), user("5"), assistant("6")]
    shorter = without_older_half(items)
    assert shorter == items[2:]
    assert without_older_half(shorter) == items[4:]
    assert without_older_half(items[4:]) is None
    assert without_older_half([]) is None


def test_a_conversation_may_begin_with_an_answer() -> None:
    items = [assistant("1"), user("2")]
    assert without_older_half(items) == items[1:]


def test_what_is_within_a_limit_is_the_latest_turns() -> None:
    items = [user("a" * 400), assistant("b" * 400), user("c" * 400), step(call(output="d" * 400))]
    assert within_tokens(items, None) == items
    assert within_tokens(items, 1000) == items
    assert within_tokens(items, 399) == items[2:]
    assert within_tokens(items, 1) == items[2:]  # the last turn is sent, whatever its length
    assert within_tokens([], 1) == []


def test_images_count() -> None:
    items = [user("a", image_url()), user("b")]
    assert within_tokens(items, 500) == items[1:]
    assert within_tokens(items, 1000) == items
