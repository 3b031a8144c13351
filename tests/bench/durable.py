"""What a durable batch costs: CPU a job in its worker, seconds to add jobs, milliseconds to read their progress.

``python -m tests.bench.durable``, on an SQLite file and on a PostgreSQL of its own. The server and the database are
other processes, so their work does not count.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from openai_runs import Polling, RunJob, Session
from openai_runs.batch.durable import DurableBatches
from openai_runs.batch.durable.job_table import Progress
from tests.postgres import postgres
from tests.serving import serving

console = Console()


def jobs(count: int, assistant_id: str) -> Iterator[RunJob]:
    for number in range(count):
        thread = {"messages": [{"role": "user", "content": f"Summarise document {number}."}]}
        yield RunJob(key=f"document-{number}", assistant_id=assistant_id, thread=thread)  # type: ignore[typeddict-item]  # a literal is a str here


async def run(store: str, url: str, count: int, workers: int) -> tuple[float, int]:
    """CPU seconds a job, from adding it to reading its result; and how many have not completed."""
    async with Session(url, "sk-benchmark", max_connections=workers) as session:
        assistant = await session.assistants.create(model="scripted")
        own, completed = time.process_time(), 0
        polling = Polling(first=0.1, longest=0.5)
        async with DurableBatches.open(store, session, workers=workers, polling=polling) as batches:
            batch = await batches.submit(jobs(count, assistant.id), name="run")
            with console.status("running") as status:
                async for result in batch.results():
                    completed += result.ok
                    status.update(f"{completed:,} of {count:,} completed")
        return (time.process_time() - own) / count, count - completed


async def add(store: str, count: int) -> tuple[float, list[float], Progress]:
    """Seconds until all jobs are added, and those of each of twenty looks at their progress."""
    async with DurableBatches.open(store) as batches:
        began = time.perf_counter()
        with console.status(f"adding {count:,} jobs"):
            batch = await batches.submit(jobs(count, "asst_1"), name="add")
        took, looks = time.perf_counter() - began, []
        for _ in range(20):
            began = time.perf_counter()
            progress = await batch.progress()
            looks.append(time.perf_counter() - began)
        return took, looks, progress


async def measure(options: argparse.Namespace) -> int:
    """Measure all, print it, and return how many jobs are not accounted for."""
    table = Table("", "SQLite", "PostgreSQL", title="a durable batch", title_justify="left")
    rows: list[list[str]] = [[], [], [], []]
    missing = 0
    with tempfile.TemporaryDirectory() as folder, postgres() as database:
        for store in str(Path(folder) / "batches.db"), database.url():
            with serving(Path(folder) / "runs.db", "--no-access-log") as (url, _):
                cpu, left = await run(store, url, options.jobs, options.workers)
            took, looks, progress = await add(store, options.added)
            missing += left + options.added - progress.total
            rows[0].append(f"{cpu * 1e3:.1f} ms")
            rows[1].append(f"{left}")
            rows[2].append(f"{took:.1f} s")
            rows[3].append(f"{statistics.median(looks) * 1e3:.1f} ms, {max(looks) * 1e3:.1f} ms")
    names = [
        f"CPU a job, of {options.jobs:,}",
        "not completed",
        f"{options.added:,} jobs added in",
        "their progress read in: median, longest",
    ]
    for name, row in zip(names, rows, strict=True):
        table.add_row(name, *row)
    console.print(table)
    return missing


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.durable", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000, help="that are run")
    parser.add_argument("--added", type=int, default=100_000, help="that are only added")
    parser.add_argument("--workers", type=int, default=40)
    sys.exit(asyncio.run(measure(parser.parse_args())) != 0)


if __name__ == "__main__":
    main()
