"""What it costs to add and to search files: ``python -m tests.bench.file_search``, with ``--chunks``, ``--numbers``.

With ``--postgres`` the index is in a PostgreSQL of its own, on the same machine.

Texts are random words, as frequent as words are, and vectors are random; so hits mean nothing, but cost what they cost.
"""

import argparse
import asyncio
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from openai_runs.file_search import Chunking, ExtractionLimits, PostgresIndex, SQLiteIndex
from openai_runs.file_search.extraction import Extractor
from openai_runs.file_search.search_index import NewFile, Question, Vectors
from tests.postgres import execute, postgres

ENDINGS = ("ation", "ed", "ing", "ly", "ment", "ness", "s", "tion", "ure", "y", "able", "er", "ful", "ist", "ize")
WORDS = [
    f"{first}{second}{third}{number or ''}"
    for number in range(40)
    for first in "bdfgklm"
    for second in ("ar", "el", "in", "or")
    for third in ENDINGS
]
FREQUENCIES = [1 / (rank + 1) for rank in range(len(WORDS))]
STOP_WORDS = 100  # the most frequent, which no query is made of
CHUNKS_OF_FILE = 100


def text(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(WORDS, FREQUENCIES, k=words))


def memory() -> float:
    """The most that this process has taken so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def lag(spans: list[float]) -> None:
    """How late the event loop is."""
    while True:
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        spans.append(time.perf_counter() - before - 0.001)


@contextmanager
def places(*, in_postgres: bool) -> Iterator[tuple[SQLiteIndex | PostgresIndex, Callable[[], int]]]:
    """An index, and how many bytes it takes."""
    if in_postgres:
        with postgres(is_durable=True) as server:
            url = server.store_url()
            tables = """
                SELECT sum(pg_total_relation_size(oid)) FROM pg_class
                WHERE relname ~ '^openai_runs_index' AND relkind = 'r'
            """
            yield PostgresIndex(url), lambda: int(execute(url, tables)[0][0])
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "index.db"
            yield SQLiteIndex(path), lambda: path.stat().st_size


async def measure(chunks: int, numbers: int, searches: int, table: Table, *, in_postgres: bool) -> None:
    chance, random_numbers = random.Random(1), np.random.default_rng(1)
    document = "\n\n".join(text(chance, 150) for _ in range(1000)).encode()
    extractor = Extractor(ExtractionLimits())
    for note in ("the first one: starting", "the next: a process"):
        began = time.perf_counter()
        await extractor.chunks(b"a text", "a.txt", Chunking())
        table.add_row("read the smallest text", f"{(time.perf_counter() - began) * 1e3:.0f} ms", note)
    began = time.perf_counter()
    found = await extractor.chunks(document, "a.txt", Chunking())
    took = time.perf_counter() - began
    table.add_row("read and cut a text", f"{took / len(document) * 1e6:.2f} s a MB", f"{len(found)} chunks")
    await extractor.aclose()
    with places(in_postgres=in_postgres) as (index, size):
        async with index:
            base = memory()
            sizes, lags = 0, list[float]()
            took = 0.0
            for first in range(0, chunks, CHUNKS_OF_FILE):
                texts = [text(chance, 500) for _ in range(min(CHUNKS_OF_FILE, chunks - first))]
                matrix = random_numbers.standard_normal((len(texts), numbers), np.float32)
                matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
                name, made = f"{first}.txt", Vectors(label="random", matrix=matrix)
                file = NewFile(store_id="vs_1", file_id=name, filename=name, chunks=texts, vectors=made)
                began = time.perf_counter()
                await index.add(file)
                took += time.perf_counter() - began
                sizes += sum(map(len, texts))
            table.add_row(
                "add to the index", f"{took / sizes * 1e6:.2f} s a MB", f"{chunks} chunks, {sizes / 1e6:.0f} MB"
            )
            table.add_row("its size", f"{size() / 2**20:.0f} MB", f"vectors of {numbers} numbers")
            table.add_row("memory for it", f"{memory() - base:.0f} MB", "")
            base = memory()
            for kind in ("words", "vectors", "both"):
                spans = []
                lags.clear()
                watch = asyncio.create_task(lag(lags))
                for _ in range(searches):
                    row = random_numbers.standard_normal((1, numbers), np.float32)
                    question = Question(
                        store_ids=["vs_1"],
                        terms=[]
                        if kind == "vectors"
                        else chance.choices(WORDS[STOP_WORDS:], FREQUENCIES[STOP_WORDS:], k=8),
                        vector=None if kind == "words" else Vectors(label="random", matrix=row / np.linalg.norm(row)),
                    )
                    began = time.perf_counter()
                    await index.search(question, limit=20)
                    spans.append(time.perf_counter() - began)
                watch.cancel()
                p99 = statistics.quantiles(spans, n=100)[98]
                table.add_row(
                    f"search by {kind}",
                    f"p50 {statistics.median(spans) * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms",
                    f"event loop at most {max(lags) * 1e3:.0f} ms late",
                )
            table.add_row("memory for it", f"{memory() - base:.0f} MB", f"{memory():.0f} MB in all")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=10_000)
    parser.add_argument("--numbers", type=int, default=384, help="in a vector")
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--postgres", action="store_true", help="measure a PostgresIndex")
    options = parser.parse_args()
    table = Table("what", "measured", "")
    asyncio.run(measure(options.chunks, options.numbers, options.searches, table, in_postgres=options.postgres))
    Console().print(table)


if __name__ == "__main__":
    main()
