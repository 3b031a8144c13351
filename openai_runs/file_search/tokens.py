"""How many tokens a text has, estimated: a tokenizer would have to download its vocabulary.

The estimate splits text as byte-pair tokenizers do before they merge anything: words with the space before them,
numbers, punctuation, line breaks. What a piece then counts is fitted to the tokenizers of the hosted models;
`docs/explanation/file-search.md` has the measured error.
"""

import math
import re
from collections.abc import Iterator
from typing import Final

#: Every character is in one of these pieces. No piece counts more than a few tokens, however the text is made.
_PIECES: Final = re.compile(
    r"""
      [ ]?[A-Za-z]{1,24}             # a word in ASCII
    | [ ]?[0-9]{1,3}
    | [ ]?[^\W\d_]{1,12}             # a word with other letters in it, or some characters of a language without spaces
    | [ ]?[!-/:-@\[-`{-~]{1,8}       # ASCII punctuation, underscores among it
    | \s{1,32}
    | .{1,4}                         # emoji and the like
    """,
    re.VERBOSE | re.DOTALL,
)


def pieces(text: str) -> Iterator[tuple[int, float]]:
    """Split a text.

    Yields:
        Where each piece ends, and how many tokens it is.
    """
    for found in _PIECES.finditer(text):
        yield found.end(), _tokens(found[0])


def count(text: str) -> int:
    """Estimate the tokens of a text."""
    return math.ceil(sum(tokens for _, tokens in pieces(text)))


def shortened(text: str, most: int) -> str:
    """The beginning of a text that has at most so many tokens."""
    total, end = 0.0, 0
    for place, tokens in pieces(text):
        total += tokens
        if total > most:
            break
        end = place
    return text[:end]


def _tokens(piece: str) -> float:
    word = piece.removeprefix(" ")
    length = len(word)
    if piece.isascii():
        if word.isalpha():
            return 1.0 if length <= 9 else 1.0 + (length - 9) * 0.1
        if word.isspace() or not word:
            return 0.9  # some are merged with what stands before them
        return 1.0 if word.isdigit() else 0.85 + (length - 1) * 0.15
    return _tokens_beyond_ascii(word)


def _tokens_beyond_ascii(word: str) -> float:
    # By the first letter that is not ASCII: scripts are not mixed within words, as a rule.
    first = next(character for character in word if not character.isascii())
    if first < "\u0250":  # Latin with accents
        return 1.0 + len(word) * 0.3
    if first < "\u0900":  # Greek, Cyrillic, Hebrew, Arabic
        return 0.5 + len(word) * 0.32
    if "\u3040" <= first <= "\ud7ff":  # Chinese, Japanese, Korean
        return len(word) * 0.85
    return len(word) * 0.7
