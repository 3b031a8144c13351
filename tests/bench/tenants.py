"""What one owner at full load does to another: ``python -m tests.bench.tenants [--limit NAME=NUMBER ...]``.

A server process has two owners. One reads a run and has a scripted run executed, again and again, one thing at a time:
first alone, then while the other one starts runs and polls them on as many connections as it is given, without a pause.
Shown are the times of the first one, and their ratio. On a machine with few cores, part of that is the client of the
load, which takes the processor from the others.
"""

import argparse
import asyncio
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import aiohttp
from rich.console import Console
from rich.table import Table

from tests.serving import serving

KEYS: Final = "sk-quiet quiet\nsk-loud loud{limits}\n"
JOB: Final = {"thread": {"messages": [{"role": "user", "content": "How is the weather today?"}]}}
GOAL: Final = 2.0


@asynccontextmanager
async def client(url: str, key: str, connections: int) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """A session, and an assistant of its owner."""
    connector = aiohttp.TCPConnector(limit=connections)
    headers, body = {"Authorization": f"Bearer {key}"}, {"model": "scripted"}
    async with aiohttp.ClientSession(headers=headers, connector=connector) as http:
        response = await http.post(f"{url}/assistants", json=body)
        yield http, (await response.json())["id"]


async def execute(http: aiohttp.ClientSession, url: str, assistant: str) -> str:
    """Have a run executed, and poll it until it has ended; its path."""
    async with http.post(f"{url}/threads/runs", json={"assistant_id": assistant, **JOB}) as response:
        run = await response.json()
    if response.status != 200:  # refused: whoever knows no better tries again soon
        await asyncio.sleep(0.01)
        return ""
    path = f"{url}/threads/{run['thread_id']}/runs/{run['id']}"
    while run.get("status") != "completed":
        async with http.get(path) as response:
            run = await response.json()
            if response.status != 200:
                await asyncio.sleep(0.01)
    return path


async def load(url: str, connections: int) -> None:
    """The owner at full load, until it is ended."""
    async with client(url, "sk-loud", connections) as (http, assistant):

        async def work() -> None:
            while True:
                await execute(http, url, assistant)

        await asyncio.gather(*(work() for _ in range(connections)))


@contextmanager
def loading(url: str, connections: int) -> Iterator[None]:
    """The same as a process of its own."""
    command = [sys.executable, "-m", "tests.bench.tenants", "--load", url, "--connections", str(connections)]
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


async def timed(work: Callable[[], Awaitable[object]], number: int) -> list[float]:
    """Milliseconds of each."""
    found = []
    for _ in range(number):
        began = time.perf_counter()
        await work()
        found.append((time.perf_counter() - began) * 1e3)
        await asyncio.sleep(0.002)  # it does not load the server itself
    return found


async def measure(url: str, gets: int, runs: int) -> dict[str, list[float]]:
    """The times of the quiet owner."""
    async with client(url, "sk-quiet", 4) as (http, assistant):
        path = await execute(http, url, assistant)

        async def get() -> None:
            async with http.get(path) as response:
                assert response.status == 200
                await response.read()

        await timed(get, 50)
        return {
            "GET of a run": await timed(get, gets),
            "scripted run": await timed(lambda: execute(http, url, assistant), runs),
        }


def compare(options: argparse.Namespace) -> Table:
    """The quiet owner's times alone, and beside the load."""
    table = Table("what", "alone: p50", "p99", "beside the load: p50", "p99", "ratio of p99")
    for column in table.columns[1:]:
        column.justify = "right"
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder, "keys")
        keys.write_text(KEYS.format(limits="".join(f" {limit}" for limit in options.limit)))
        with serving(Path(folder, "runs.db"), "--keys-file", str(keys), "--no-access-log") as (url, _):
            alone = asyncio.run(measure(url, options.gets, options.runs))
            with loading(url, options.connections):
                time.sleep(2.0)  # until the load is there
                beside = asyncio.run(measure(url, options.gets, options.runs))
    for what, before in alone.items():
        shown = [(statistics.median(times), statistics.quantiles(times, n=100)[98]) for times in (before, beside[what])]
        (_, first), (_, second) = shown
        figures = [f"{time:.2f} ms" for pair in shown for time in pair]
        table.add_row(what, *figures, f"{second / first:.1f}", style="" if second / first <= GOAL else "red")
    return table


parser = argparse.ArgumentParser(prog="python -m tests.bench.tenants", description=__doc__)
parser.add_argument("--gets", type=int, default=2000, help="how many runs are read")
parser.add_argument("--runs", type=int, default=300, help="how many runs are executed")
parser.add_argument("--connections", type=int, default=100, help="those of the load")
parser.add_argument("--limit", action="append", default=[], metavar="NAME=NUMBER", help="of the owner at full load")
parser.add_argument("--load", metavar="URL", help=argparse.SUPPRESS)

if __name__ == "__main__":
    options = parser.parse_args()
    if options.load:
        asyncio.run(load(options.load, options.connections))
    else:
        Console().print(compare(options))
