"""Chunks: how large they are, how they overlap, and where they are cut."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openai_runs.file_search.chunking import Chunking, TooManyTokensError, chunks_of
from openai_runs.file_search.tokens import count

SENTENCE = "The masons struck over wages in the spring, and the arch stood open. "
WORDS = "word " * 1000


def chunks(text, max_tokens=100, overlap=0, most=10**6):
    return list(chunks_of(text, Chunking(max_tokens, overlap), most=most))


chunkings = st.integers(100, 300).flatmap(lambda size: st.builds(Chunking, st.just(size), st.integers(0, size // 2)))
parts = st.lists(st.sampled_from(["word", " ", ". ", "\n", "\n\n", "x" * 90, "語", "。", "😀", "?!"]), max_size=600)


def numbered(parts):
    """A text in which no part is found twice."""
    return "".join(part if part.isspace() else f"{part}{number:04}" for number, part in enumerate(parts))


@given(parts.map(numbered), chunkings)
@example(numbered(["word", " "] * 500), Chunking(100, 50))
@example(numbered(["a"] * 1000), Chunking(100, 50))
@example("\n" * 5000 + "end", Chunking(100, 50))
def test_nothing_is_lost(text, chunking):
    """All but whitespace is in a chunk, in order; each chunk is a part of the text that fits, and none is empty."""
    place = covered = 0
    for chunk in chunks_of(text, chunking, most=10**6):
        assert chunk == chunk.strip() != ""
        assert count(chunk) <= chunking.max_tokens + 1
        place = text.index(chunk, place)
        assert not text[covered:place].strip()
        covered = max(covered, place + len(chunk))
    assert not text[covered:].strip()


@pytest.mark.parametrize(
    ("separator", "end"),
    [("\n\n", "open."), (" ", "open."), ("\n", "open.")],
)
def test_chunks_end_where_a_sentence_or_paragraph_does(separator, end):
    """The end of a paragraph or sentence that is near is better than the last word that fits."""
    found = chunks(separator.join([SENTENCE.strip()] * 40))
    assert len(found) > 3
    assert all(chunk.endswith(end) and chunk.startswith("The masons") for chunk in found)


def test_a_paragraph_is_better_than_a_sentence():
    """Of two places that are near, the one between paragraphs is taken."""
    first, *_ = chunks(SENTENCE * 6 + "\n\n" + SENTENCE * 6)
    assert first == (SENTENCE * 6).strip()


def test_lines_and_words_are_not_cut():
    """Without sentences, chunks end at the end of a line, or at least of a word."""
    assert set(" ".join(chunks(WORDS)).split()) == {"word"}
    assert all(chunk.endswith("row") for chunk in chunks("one two three four five row\n" * 100))


def test_a_text_without_any_place_to_cut_is_cut_anywhere():
    """What has no spaces is cut at the limit."""
    assert "".join(chunks("语" * 1000)) == "语" * 1000


def test_chunks_overlap():
    """A chunk begins with the end of the one before it: about as many tokens as asked for, and not more."""
    found = chunks(
        "".join(f"The masons struck for the {number}th time, and the arch stood open. " for number in range(60)),
        200,
        100,
    )
    for before, after in pairwise(found):
        shared = max(size for size in range(len(after) + 1) if before.endswith(after[:size]))
        assert 60 <= count(after[:shared]) <= 101
    assert all(chunk.startswith("The masons") for chunk in found)


def test_a_text_that_fits_is_one_chunk():
    """Nothing is repeated when the end is reached."""
    assert chunks(f"\n {SENTENCE}\n", 100, 50) == [SENTENCE.strip()]
    assert chunks(" \n ") == chunks("") == []


def test_too_many_tokens():
    """A text with more tokens than are allowed is refused before the first chunk."""
    with pytest.raises(TooManyTokensError):
        next(chunks_of(WORDS, Chunking(), most=999))
    assert chunks(WORDS, most=1001)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((99, 0), "max_tokens must be from 100 to 4096: got 99"),
        ((4097, 0), "max_tokens must be from 100 to 4096: got 4097"),
        ((100, 51), "overlap must be from 0 to half of max_tokens, 100: got 51"),
        ((100, -1), "overlap must be from 0 to half of max_tokens, 100: got -1"),
    ],
)
def test_the_limits_of_the_api(values, message):
    """Chunks are as large as the API allows, and overlap by half at most."""
    with pytest.raises(ValueError, match=message):
        Chunking(*values)


def test_the_defaults_of_the_api():
    """``auto`` is 800 tokens, 400 of which overlap."""
    assert Chunking() == Chunking(800, 400)
