"""How good a hit is: one score, of the words that it shares with a query and of what it means. Arithmetic only.

Both parts are from 0 to 1, and neither is scaled by the best hit of the search, so that a threshold means the same for
every query. ``docs/explanation/file-search.md`` says why it is done like this, and what was measured.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from openai_runs._extras import needs

with needs("files"):
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NEGLIGIBLE: Final = 0.05  # of a query's rarity

#: The score of a hit that has all words of a query, and a meaning like anything else.
_ALL_WORDS: Final = 0.8

#: So many chunks count as much as what the median of the others says.
_FEW: Final = 20


def rarity(chunks: int, having: int) -> float:
    """BM25's weight of a word that ``having`` of ``chunks`` have; never negative."""
    return math.log(1 + (chunks - having + 0.5) / (having + 0.5))


def telling(rarities: Sequence[float]) -> float:
    """How rare a word has to be to tell chunks apart: those that are not make up a twentieth of all rarity at most.

    In a large store, looking up a word that most chunks have takes the most time and decides nothing.
    """
    left = sum(rarities) * _NEGLIGIBLE
    for least in sorted(rarities):
        left -= least
        if left < 0:
            return least
    return 0.0


def similarity_scores(cosines: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """How much closer to the query each chunk is than chunks are as a rule: 0 to 1.

    Models differ in how similar they find texts that have nothing to do with each other: 0.1 at one, 0.8 at another.
    The median of what is searched tells, since most of it does not answer the query. Where there is little to search,
    it says less and counts less.
    """
    if not len(cosines):
        return cosines
    usual = min(max(float(np.median(cosines)), 0.0), 0.95) * len(cosines) / (len(cosines) + _FEW)
    scores: NDArray[np.float32] = np.clip((cosines - usual) / (1 - usual), 0, 1).astype(np.float32)
    return scores


def fused(
    words: Mapping[int, float], chunks: "NDArray[np.int64]", similarities: "NDArray[np.float32]", limit: int
) -> Sequence[tuple[int, float]]:
    """The best chunks with their scores, the best first.

    The parts are taken for independent judges, either of whom is enough: ``1 - (1 - meaning) * (1 - words)``. The words
    are squared, since half of a query's words is a weak sign, while all of them are nearly proof.

    Args:
        words: What share of the query each chunk has; those that are missing have nothing of it.
        chunks: Those that have a vector. None if there is no vector of the query: the words decide alone.
        similarities: How similar these are to the query.
        limit: How many are wanted.
    """
    if not len(chunks):
        return sorted(words.items(), key=_best_first)[:limit]
    closest = np.argpartition(similarities, -limit)[-limit:] if len(chunks) > limit else np.arange(len(chunks))
    candidates = np.union1d(closest, np.nonzero(np.isin(chunks, np.fromiter(words, np.int64, len(words))))[0])
    meanings = dict(zip(chunks[candidates].tolist(), similarities[candidates].tolist(), strict=True))
    scores = {
        chunk: 1 - (1 - meanings.get(chunk, 0.0)) * (1 - _ALL_WORDS * words.get(chunk, 0.0) ** 2)
        for chunk in meanings.keys() | words.keys()
    }
    return sorted(scores.items(), key=_best_first)[:limit]


def _best_first(item: tuple[int, float]) -> tuple[float, int]:
    chunk, score = item
    return -score, chunk


def best(
    words: Mapping[int, float], chunks: "NDArray[np.int64]", cosines: "NDArray[np.float32]", limit: int
) -> Sequence[tuple[int, float]]:
    """The best chunks by words and by meaning; see `fused`."""
    return fused(words, chunks, similarity_scores(cosines), limit)


def cosines_of(
    rows: Sequence[tuple[int, bytes]], query: "NDArray[np.float32]"
) -> "tuple[NDArray[np.int64], NDArray[np.float32]]":
    """Compare the vectors of chunks with that of a question.

    Args:
        rows: The first chunk of each, and the vectors of the chunks that follow each other from there.
        query: The vector of the question; all have the length 1.

    Returns:
        The chunks, and their cosines.
    """
    chunks, cosines = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for first, data in rows:
        matrix = np.frombuffer(data, "<f4").reshape(-1, len(query))
        chunks.append(np.arange(first, first + len(matrix), dtype=np.int64))
        cosines.append(matrix @ query)
    return np.concatenate(chunks), np.concatenate(cosines)
