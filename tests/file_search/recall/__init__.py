"""Questions about twenty short documents on invented things, and the passage that answers each.

``paraphrase``: as somebody asks who has not read the document, with next to none of its words. ``keywords``: as
somebody searches who has. ``inflected``: keywords in other forms than in the document. The vectors are
all-MiniLM-L6-v2's; `make_vectors` says how they were made.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from attrs import frozen

from openai_runs.file_search.search_index import NewFile, SearchIndex, Vectors, terms_of
from openai_runs.file_search.search_index import Question as Search

HERE = Path(__file__).parent
VECTORS = HERE / "vectors.npy"
STORE = "vs_recall"


@frozen
class Question:
    """A question, and what answers it."""

    kind: str
    filename: str
    passage: int
    text: str


@frozen
class Recall:
    """How many of the questions had their answer first, and among the first five."""

    first: float
    five: float


def documents() -> Mapping[str, Sequence[str]]:
    """The passages of each file."""
    paths = sorted((HERE / "documents").glob("*.md"))
    return {path.name: [part.strip() for part in path.read_text("utf-8").split("\n\n")] for path in paths}


def questions() -> Sequence[Question]:
    """All questions."""
    with (HERE / "questions.tsv").open(encoding="utf-8") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Question(row["kind"], f"{row['document']}.md", int(row["passage"]), row["question"]) for row in rows]


def vectors() -> np.ndarray:
    """Of the passages, and then of the questions."""
    stored = np.load(VECTORS).astype(np.float32)
    return stored / np.linalg.norm(stored, axis=1, keepdims=True)


async def fill(index: SearchIndex, *, matrix: np.ndarray | None) -> None:
    """Put the documents into an index, a chunk for each passage; without vectors if there is no matrix."""
    place = 0
    for name, passages in documents().items():
        rows = None if matrix is None else Vectors(label="minilm", matrix=matrix[place : place + len(passages)])
        await index.add(NewFile(store_id=STORE, file_id=name, filename=name, chunks=passages, vectors=rows))
        place += len(passages)


async def measure(index: SearchIndex, *, words: bool, meaning: bool) -> dict[str, Recall]:
    """Ask all questions, and look where the answers are."""
    matrix = vectors()
    asked = questions()
    ranks: dict[str, list[int]] = {}
    for question, row in zip(asked, matrix[-len(asked) :], strict=True):
        search = Search(
            store_ids=[STORE],
            terms=terms_of(question.text) if words else [],
            vector=Vectors(label="minilm", matrix=row[None]) if meaning else None,
        )
        hits = await index.search(search, limit=20)
        places = [
            place
            for place, hit in enumerate(hits)
            if (hit.filename, hit.index) == (question.filename, question.passage)
        ]
        ranks.setdefault(question.kind, []).append(places[0] if places else 20)
    return {
        kind: Recall(float(np.mean(np.array(found) == 0)), float(np.mean(np.array(found) < 5)))
        for kind, found in ranks.items()
    }
