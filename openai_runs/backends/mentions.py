"""`Mentions`: the names, dates and numbers in what a user has said, for the arguments of scripted tool calls.

It knows no language: a name is a capitalised word that does not begin a sentence, or several in a row.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from attrs import define, field

T = TypeVar("T")

_MAX_LENGTH: Final = 10_000  #: characters of a text that are read
_DATE: Final = re.compile(r"(?<![\w-])\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])(?:T[\d:.]+(?:Z|[+-][\d:]+)?)?")
_NUMBER: Final = re.compile(r"(?<![\w.,:/-])-?\d{1,15}(?:\.\d{1,6})?(?![\w:/-])")
_WORD: Final = re.compile(r"[^\W\d_][\w'\u2019-]*")
_FIRST_PERSON: Final = re.compile(r"I(?:['\u2019]\w+)?")
#: What precedes the first word of a sentence, apart from spaces.
_SENTENCE_ENDS: Final = ("", ".", "!", "?", ":", ";", "\n", "…")


@define
class Mentions:
    """What is mentioned in texts. Each mention is given out once, in order of the texts."""

    _names: list[str] = field(factory=list)
    _dates: list[str] = field(factory=list)
    _numbers: list[float] = field(factory=list)

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Mentions":
        """Find what the texts mention; the first text comes first."""
        found = cls()
        for text in texts:
            start = text[:_MAX_LENGTH]
            found._names += _names_in(start)
            found._dates += _DATE.findall(start)
            without_dates = _DATE.sub("", start)
            found._numbers += [float(n) if "." in n else int(n) for n in _NUMBER.findall(without_dates)]
        return found

    def name(self, fits: Callable[[str], bool]) -> str | None:
        """Take the next name that fits."""
        return _take(self._names, fits)

    def date(self, fits: Callable[[str], bool]) -> str | None:
        """Take the next date or time that fits, in the form of ISO 8601."""
        return _take(self._dates, fits)

    def number(self, fits: Callable[[float], bool]) -> float | None:
        """Take the next number that fits."""
        return _take(self._numbers, fits)


def _take(items: list[T], fits: Callable[[T], bool]) -> T | None:
    found = next((index for index, item in enumerate(items) if fits(item)), None)
    return None if found is None else items.pop(found)


def _names_in(text: str) -> list[str]:
    names: list[str] = []
    end = -1  # of the last name
    for word in _WORD.finditer(text):
        if not word[0][0].isupper() or _FIRST_PERSON.fullmatch(word[0]):
            continue
        if end >= 0 and text[end : word.start()] == " ":
            names[-1] = f"{names[-1]} {word[0]}"
        elif text[: word.start()].rstrip(" \t\"'“„«(¿¡")[-1:] in _SENTENCE_ENDS:
            continue
        else:
            names.append(word[0])
        end = word.end()
    return list(dict.fromkeys(names))
