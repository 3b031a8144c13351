"""`MessageTemplate`: texts with places for fields."""

import pytest

from openai_runs.batch.message_template import MessageTemplate


def test_fields_are_filled_in() -> None:
    """A name is taken as it is, a value that is no string is JSON, and doubled braces are braces."""
    template = MessageTemplate.parse("{{{key}}} in {the language}, {a.b[0]}: {tags}{key}!")
    assert template.fields == {"key", "the language", "a.b[0]", "tags"}
    values = {"key": 7, "the language": "Welsh", "a.b[0]": "x{y}", "tags": ["ä", None], "other": None}
    assert template.fill(values) == '{7} in Welsh, x{y}: ["ä",null]7!'


def test_a_template_without_fields() -> None:
    """A plain text is a template, too."""
    assert MessageTemplate.parse("Tell a joke.").fill({}) == "Tell a joke."


@pytest.mark.parametrize("values", [{"key": "a"}, {"key": "a", "text": None}])
def test_what_is_missing_is_named(values: dict[str, object]) -> None:
    """A field that is missing or null is named, with those that are there."""
    with pytest.raises(ValueError, match=r"needs a value of text; there are key"):
        MessageTemplate.parse("{text}").fill(values)


@pytest.mark.parametrize("text", ["{", "}", "{}", "{text:>9}", "{text!r}"])
def test_what_is_no_template(text: str) -> None:
    """The error has the text, and says how to write a brace."""
    with pytest.raises(ValueError, match=r"(?s)^'.+doubled: \{\{ and \}\}$"):
        MessageTemplate.parse(text)
