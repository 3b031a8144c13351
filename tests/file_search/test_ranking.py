"""Scores of hits: from 0 to 1, in an order that neither words nor meaning can spoil alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs.file_search.ranking import fused, rarity, similarity_scores, telling

CHUNKS = np.arange(10, 15)


def similarities(*values):
    return np.array(values, np.float32)


def test_rare_words_count_more():
    """A word that few chunks have counts more, and one that all have counts next to nothing."""
    assert rarity(1000, 1) > rarity(1000, 100) > rarity(1000, 1000) > 0


def test_words_that_all_have_tell_nothing():
    """They are the least rare, and together next to nothing; of words that are equally rare, all count."""
    assert telling([5.0, 0.2, 4.0, 0.1]) == 4.0
    assert telling([1.0, 1.0, 1.0]) == 1.0
    assert telling([0.0, 0.0]) == telling([]) == 0.0


def test_similarity_is_measured_from_what_is_usual():
    """Two models that differ only in how similar they find anything give nearly the same scores."""
    low = np.array([0.6, *[0.1] * 5000], np.float32)
    high = 1 - (1 - low) / 5  # the same, pressed into the range above 0.8
    assert similarity_scores(low)[0] == pytest.approx(similarity_scores(high)[0], abs=0.02)
    assert similarity_scores(low)[1] < 0.01


def test_few_chunks_say_little_about_what_is_usual():
    """A chunk that is alone in its store has not the score 0."""
    assert similarity_scores(similarities(0.8))[0] > 0.7
    assert not len(similarity_scores(similarities()))


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=100))
def test_scores_of_similarity_are_from_0_to_1(cosines):
    """Whatever the cosines are; and the order is theirs."""
    scores = similarity_scores(np.array(cosines, np.float32))
    assert scores.min() >= 0
    assert scores.max() <= 1
    order = np.argsort(cosines, kind="stable")
    assert (np.diff(scores[order]) >= 0).all()


def test_words_alone():
    """Without vectors, a score is the share of the query that was found."""
    assert fused({1: 0.2, 2: 0.9, 3: 0.9}, CHUNKS[:0], similarities(), 2) == [(2, 0.9), (3, 0.9)]


def test_meaning_alone():
    """Without words in common, the score is that of the meaning."""
    found = fused({}, CHUNKS, similarities(0.1, 0.5, 0.3, 0.0, 0.2), 3)
    assert [chunk for chunk, _ in found] == [11, 12, 14]
    assert found[0][1] == pytest.approx(0.5)


def test_both():
    """All words of a query outweigh a meaning that is only near; a few words do not; both together are the best."""
    scores = dict(fused({10: 1.0, 12: 0.3, 13: 1.0}, CHUNKS, similarities(0.0, 0.5, 0.1, 0.5, 0.3), 5))
    assert scores[13] > scores[10] > scores[11] > scores[14] > scores[12]
    assert scores[13] < 1


def test_chunks_without_a_vector_are_found_by_their_words():
    """A file that was added before there was a model is not lost."""
    found = fused({10: 0.9, 99: 0.9}, CHUNKS, similarities(0.4, 0.1, 0.1, 0.1, 0.1), 2)
    assert [chunk for chunk, _ in found] == [10, 99]


def test_words_are_looked_at_beyond_the_closest():
    """A chunk that is not among the closest still gets the score of its meaning, when its words were found."""
    [(chunk, score), _] = fused({14: 0.9}, CHUNKS, similarities(0.4, 0.3, 0.2, 0.1, 0.05), 2)
    assert chunk == 14
    assert score == pytest.approx(1 - 0.95 * (1 - 0.8 * 0.81))
