"""The words by which a `PostgresIndex` finds chunks: those of a text, their stems, and what the database gets."""

import re
import unicodedata
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final, TypeAlias

from openai_runs._slices import Work
from openai_runs.file_search import postgres_tables as tables

_LONGEST_WORD: Final = 64  # characters, as in `terms_of`
_MOST_STEMS: Final = 50_000  # that are kept in memory

_words: Final = re.compile(r"[^\W_]+").findall

#: Executes a statement, and returns its rows.
Read: TypeAlias = Callable[[str, Mapping[str, Any]], Awaitable[list[Any]]]


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without accents."""
    if not text.isascii():
        letters = (char for char in unicodedata.normalize("NFD", text) if not unicodedata.combining(char))
        text = unicodedata.normalize("NFC", "".join(letters))
    return [word[:_LONGEST_WORD] for word in _words(text.lower())]


def listed(filename: str, chunks: Sequence[str]) -> Work[list[list[str]]]:
    """The words by which each chunk is found."""
    name = words_of(filename)
    found = []
    for chunk in chunks:
        found.append(name + words_of(chunk))
        yield
    return found


def vectors_of(store: int, chunks: Sequence[Sequence[str]], stems: Mapping[str, str]) -> Work[list[str]]:
    """For each chunk, the text of a `tsvector` with the places of its words."""
    found = []
    for words in chunks:
        places: dict[str, list[str]] = {}
        for place, word in enumerate(words, 1):
            places.setdefault(stems[word], []).append(str(place))
        found.append(" ".join(f"'{store}/{stem}':{','.join(at)}" for stem, at in places.items()))
        yield
    return found


class Stems:
    """The stems of words, which the database knows."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    async def of(self, read: Read, words: Collection[str]) -> Mapping[str, str]:
        """Those of some words, at least."""
        unknown = [word for word in words if word not in self._known]
        if len(self._known) + len(unknown) > _MOST_STEMS:
            self._known, unknown = {}, list(words)
        known = self._known
        if unknown:
            known.update(await read(tables.STEMS, {"words": unknown}))
        return known
