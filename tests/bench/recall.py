"""How often the answer to a question is found: ``python -m tests.bench.recall``, by words, by vectors and by both.

The questions are those of `tests.file_search.recall`.
"""

import asyncio
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from openai_runs.file_search import SQLiteIndex
from tests.file_search.recall import Recall, fill, measure, vectors


async def measured() -> dict[str, dict[str, Recall]]:
    """By ranking, and then by the kind of question."""
    with tempfile.TemporaryDirectory() as folder:
        async with SQLiteIndex(Path(folder) / "index.db") as index:
            await fill(index, matrix=vectors())
            return {
                "words": await measure(index, words=True, meaning=False),
                "vectors": await measure(index, words=False, meaning=True),
                "both": await measure(index, words=True, meaning=True),
            }


def main() -> None:
    table = Table("ranking", "questions", "first", "among five")
    for ranking, kinds in asyncio.run(measured()).items():
        for kind, recall in kinds.items():
            table.add_row(ranking, kind, f"{recall.first:.1%}", f"{recall.five:.1%}")
    Console().print(table)


if __name__ == "__main__":
    main()
