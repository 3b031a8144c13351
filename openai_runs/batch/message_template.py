"""`MessageTemplate`: the text of a message, with places for the fields of a line of a file."""

import string
from collections.abc import Mapping
from typing import Any, Final, Self

from attrs import frozen

from openai_runs import _wire

_HINT: Final = "Braces of the text itself are doubled: {{ and }}"


@frozen
class MessageTemplate:
    """A text such as ``Summarise in {language}: {text}``. Doubled braces stand for themselves."""

    _parts: tuple[tuple[str, str | None], ...]  # a text, and the field that follows it

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a template. A field's name is taken as it is, so it may have blanks and dots.

        Raises:
            ValueError: A brace is not closed or not opened, or there is a format or conversion behind a name.
        """
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise ValueError(f"{text!r} cannot be read: {error}. {_HINT}") from None
        if any(name == "" or form or conversion for _, name, form, conversion in parts):
            raise ValueError(f"{text!r} must have the name of a field between braces, and nothing else. {_HINT}")
        return cls(tuple((literal, name) for literal, name, _, _ in parts))

    @property
    def fields(self) -> frozenset[str]:
        """The names of the fields that are needed."""
        return frozenset(name for _, name in self._parts if name is not None)

    def fill(self, values: Mapping[str, Any]) -> str:
        """The text with the values of the fields; one that is no string is written as JSON.

        Raises:
            ValueError: A field is missing, or ``None``.
        """
        missing = sorted(name for name in self.fields if values.get(name) is None)
        if missing:
            raise ValueError(
                f"the message needs a value of {', '.join(missing)}; there are {', '.join(values) or 'none'}"
            )
        return "".join(literal + ("" if name is None else _text(values[name])) for literal, name in self._parts)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _wire.encode_plain(value).decode()
