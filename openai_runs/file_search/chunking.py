"""Cuts a text into chunks that overlap, at the ends of paragraphs, sentences and words where one is near."""

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from attrs import field, frozen

from openai_runs.file_search.tokens import pieces

_SMALLEST: Final = 100  # tokens
_LARGEST: Final = 4096  # tokens

#: How much of a chunk's end, or of an overlap's beginning, is given up for a better place to cut.
_NEAR: Final = 0.25

#: Where to cut, the best first: after a paragraph, a sentence, a line, a word.
_CUTS: Final = (
    re.compile(r"\n\s*\n"),
    re.compile(r"[.!?\u2026][\"'\u201d\u2019)\]]*\s+|[\u3002\uff01\uff1f]"),
    re.compile(r"\n"),
    re.compile(r"\s+"),
)


@frozen
class Chunking:
    """How a text is cut; the API's ``static`` strategy, with the values of ``auto``."""

    #: In a chunk, 100 to 4096; estimated, see `openai_runs.file_search.tokens`.
    max_tokens: int = field(default=800)
    #: Tokens that a chunk shares with the one before it; at most half of ``max_tokens``.
    overlap: int = field(default=400)

    @max_tokens.validator
    def _check_size(self, _: object, value: int) -> None:
        if not _SMALLEST <= value <= _LARGEST:
            raise ValueError(f"max_tokens must be from {_SMALLEST} to {_LARGEST}: got {value}")

    @overlap.validator
    def _check_overlap(self, _: object, value: int) -> None:
        if not 0 <= value <= self.max_tokens / 2:
            raise ValueError(f"overlap must be from 0 to half of max_tokens, {self.max_tokens}: got {value}")


class TooManyTokensError(Exception):
    """The text has more tokens than are allowed."""


def chunks_of(text: str, chunking: Chunking, *, most: int) -> Iterator[str]:
    """Cut a text; chunks have no whitespace around them, and none is empty.

    Args:
        text: All of it.
        chunking: How large, and how much they overlap.
        most: How many tokens the text may have.

    Raises:
        TooManyTokensError: It has more; nothing was yielded.
    """
    ends, totals = _measured(text, most)
    start, piece = 0, 0  # the chunk's first character, and the piece that this character is in
    while start < len(text):
        before = totals[piece - 1] if piece else 0.0
        last = max(bisect_left(totals, before + chunking.max_tokens + 1e-6), piece + 1)  # the first that does not fit
        if last >= len(ends):
            end = len(text)
        else:
            latest = ends[last - 1]
            near = bisect_left(totals, before + chunking.max_tokens * (1 - _NEAR))
            end = _last_cut(text, max(ends[min(near, last - 1)], start + 1), latest)
        if chunk := text[start:end].strip():
            yield chunk
        if end == len(text):
            return
        start = max(_next_start(text, end, ends, totals, chunking.overlap), start + 1)
        piece = bisect_left(ends, start + 1)


def _measured(text: str, most: int) -> tuple["array[int]", "array[float]"]:
    """Where each piece ends, and how many tokens there are up to there."""
    ends, totals = array("L"), array("d")
    total = 0.0
    for end, tokens in pieces(text):
        total += tokens
        if total > most:
            raise TooManyTokensError
        ends.append(end)
        totals.append(total)
    return ends, totals


def _last_cut(text: str, low: int, high: int) -> int:
    """The best place to cut between two, and the last one of those that are equally good."""
    while high < len(text) and text[high].isspace():  # which is not part of the chunk, and makes this a place to cut
        high += 1
    for cut in _CUTS:
        places = [found.end() for found in cut.finditer(text, low, high)]
        if places:
            return places[-1]
    return high


def _next_start(text: str, end: int, ends: "array[int]", totals: "array[float]", overlap: int) -> int:
    """Where the next chunk begins: about ``overlap`` tokens before the end of this one, and not more."""
    if not overlap:
        return end
    total = totals[bisect_left(ends, end)]
    earliest = ends[min(bisect_left(totals, total - overlap), len(ends) - 1)]
    latest = ends[bisect_left(totals, total - overlap * (1 - _NEAR))]
    for cut in _CUTS:
        if found := cut.search(text, earliest, min(latest, end)):
            return found.end()
    return min(earliest, end)
