"""Scripted runs a second of ``openai-runs serve``: on an SQLite file, on PostgreSQL, and of servers that share it.

``python -m tests.bench.servers``, with ``--threads 1000 10000 100000`` for how that grows with what is stored. All of
it is on one machine, client and database included: the CPU times say more than the runs a second.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from openai_runs import RunJob, Session, run_batch
from openai_runs.stores.postgres import PostgresStore
from openai_runs.stores.sqlite import SQLiteStore
from tests.postgres import Postgres, postgres
from tests.serving import free_port
from tests.stores.objects import message, thread

_HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello!"}]}
_STEP = 500  # threads of a commit, when the store is filled
#: What is measured: the store, and how many servers have it.
KINDS = (("SQLite", 1), ("PostgreSQL", 1), ("PostgreSQL, shared", 1), ("PostgreSQL, shared", 2))


def _cpu(processes: Sequence[psutil.Process]) -> float:
    """Seconds of CPU that processes have used so far."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


@contextmanager
def _serving(store: str, folder: Path, *options: str) -> Iterator[tuple[str, psutil.Process]]:
    port = free_port()
    command = [sys.executable, "-m", "openai_runs", "serve", "--backend", "scripted", "--store", store]
    command += ["--port", str(port), "--files-folder", str(folder), "--no-access-log", "--log-level", "error", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}/v1", psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


async def _fill(store: SQLiteStore | PostgresStore, number: int) -> None:
    async with store:
        with Progress(transient=True) as progress:
            for start in progress.track(range(0, number, _STEP), description=f"storing {number} threads"):
                names = [f"thread_{each:024}" for each in range(start, min(start + _STEP, number))]
                await store.commit(
                    [
                        record
                        for name in names
                        for record in (thread(name), *(message(f"msg_{name[7:]}{each}", name) for each in range(2)))
                    ]
                )


async def _load(url: str, assistant_id: str, runs: int, workers: int) -> None:
    async with Session(url, "key", max_connections=workers) as session:
        jobs = (RunJob(assistant_id=assistant_id, thread=_HELLO) for _ in range(runs))
        async with run_batch(session, jobs, workers=workers, fetch_messages=False) as results:
            async for result in results:
                assert result.ok, result


async def _measure(
    urls: Sequence[str], servers: Sequence[psutil.Process], database: psutil.Process | None, runs: int, workers: int
) -> tuple[float, float, float, float]:
    """Runs a second; CPU of servers, database and client, in seconds a run."""
    async with Session(urls[0], "key", max_retries=100) as session:  # also until it is there
        assistant = await session.assistants.create(model="scripted")
    for url in urls:
        await _load(url, assistant.id, 50, 8)
    of_database = [] if database is None else database.children()
    before = time.perf_counter(), _cpu(servers), _cpu(of_database), time.process_time()
    shares = [(url, assistant.id, runs // len(urls), workers // len(urls)) for url in urls]
    await asyncio.gather(*(_load(*share) for share in shares))
    known = {process.pid for process in of_database}
    new = [] if database is None else [process for process in database.children() if process.pid not in known]
    after = time.perf_counter(), _cpu(servers), _cpu(of_database) + _cpu(new), time.process_time()
    seconds, *cpu = (then - now for then, now in zip(after, before, strict=True))
    return runs / seconds, cpu[0] / runs, cpu[1] / runs, cpu[2] / runs


def _run(kind: str, number: int, threads: int, runs: int, workers: int) -> tuple[float, float, float, float]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database: Postgres | None = None
        if kind == "SQLite":
            store, filled = str(folder / "runs.db"), SQLiteStore(folder / "runs.db")
        else:
            database = stack.enter_context(postgres(is_durable=True))
            store = database.store_url()
            filled = PostgresStore(store, folder=folder)
        if threads:
            asyncio.run(_fill(filled, threads))
        options = ["--replica"] if "shared" in kind else []
        running = [stack.enter_context(_serving(store, folder, *options)) for _ in range(number)]
        process = None if database is None else psutil.Process(database.pid)
        return asyncio.run(_measure([url for url, _ in running], [p for _, p in running], process, runs, workers))


def main() -> None:
    """Measure all kinds, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--threads", type=int, nargs="+", default=[0], help="how many are stored before")
    options = parser.parse_args()
    table = Table(title=f"{options.runs} scripted runs, {options.workers} at once, {os.cpu_count()} cores")
    for heading in ("store", "servers", "threads", "runs/s", "servers, ms", "database, ms", "client, ms"):
        is_name = heading == "store"
        table.add_column(heading, justify="left" if is_name else "right", no_wrap=is_name)
    for threads in options.threads:
        for kind, number in KINDS:
            rate, *cpu = _run(kind, number, threads, options.runs, options.workers)
            table.add_row(kind, str(number), f"{threads:,}", f"{rate:.0f}", *(f"{each * 1000:.2f}" for each in cpu))
    Console().print(table)


if __name__ == "__main__":
    main()
