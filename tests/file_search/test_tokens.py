"""How many tokens a text has, estimated."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openai_runs.file_search.tokens import count, pieces, shortened

ENGLISH = (
    "The Orvane Bridge spans the river at Lhast with a single arch of 118 metres, the widest of its kind built "
    "of brick. "
    "Work started in 1887 and stopped twice: when the floods of 1889 carried the scaffold away, and when the masons "
    "struck over wages in 1891."
)
PYTHON = (
    "def shortened(text: str, most: int) -> str:\n    total, end = 0.0, 0\n    for place, tokens in pieces(text):\n"
    "        total += tokens\n        if total > most:\n            break\n        end = place\n    return text[:end]\n"
)
JSON = '{"id": "file-abc123", "object": "file", "bytes": 120000, "created_at": 1677610602, "purpose": "assistants"}'


@given(st.text())
@example("")
@example("a" * 1000)
@example("\ud800 half a pair")
def test_every_character_is_in_one_piece(text):
    """Pieces follow each other without a gap, so that a text can be cut after any of them."""
    ends = [end for end, _ in pieces(text)]
    assert ends == sorted(set(ends))
    assert (ends[-1] if ends else 0) == len(text)


@pytest.mark.parametrize(("text", "tokens"), [(ENGLISH, 65), (PYTHON, 60), (JSON, 39)])
def test_it_is_near_to_a_tokenizer(text, tokens):
    """English, code and JSON are estimated within a sixth of what the tokenizer o200k_base counts."""
    assert tokens * 5 / 6 <= count(text) <= tokens * 7 / 6


@pytest.mark.parametrize("text", ["ящик", "東京都", "ποταμός", "हिन्दी", "für", "😀😀😀"])
def test_other_scripts_count_too(text):
    """No script is free: each text has at least a token for every four characters."""
    assert count(text) * 4 >= len(text)


@pytest.mark.parametrize("character", ["a", "ä", "1", ".", " ", "\n", "語", "я", "😀", "\x00"])
def test_no_piece_is_large(character):
    """A piece counts a few tokens at most, so that a chunk can nearly be filled, whatever the text is."""
    assert max(tokens for _, tokens in pieces(character * 10_000)) <= 16


@given(st.text(), st.integers(0, 50))
def test_a_text_is_shortened(text, most):
    """What is left is the beginning, and has as many tokens as are allowed."""
    short = shortened(text, most)
    assert text.startswith(short)
    assert count(short) <= most
    assert short == text or count(text) > most
