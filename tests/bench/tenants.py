"""What one owner at full load does to another: ``python -m tests.bench.tenants [--limit NAME=NUMBER ...]``.

A server process has two owners. The quiet one reads a run and has a scripted run executed, again and again, one thing
at a time, in four surroundings:

- *alone*;
- *beside the load*: the other owner starts runs and polls them on as many connections as it is given, without a pause;
- *beside strangers*: the other owner does nothing, and two processes that have nothing to do with the server take as
  much of the processors as the load took, one for its client and one for the server's work on it;
- *in a busy server*: the same, but the server's part is taken by the server process itself, in steps of a third of a
  millisecond between which its event loop does all that is there to do.

The last two are floors. On a machine whose processors are busy everybody waits for them, whatever the server does; and
where other programs want the processors too, a process that uses much of them waits longer for its next turn than one
that mostly sleeps, in whatever order it then does its work. Shown are the times of the quiet owner, and the ratios of
its 99th percentile to those in the other surroundings. These alternate, round after round, since a machine that others
use as well is not always the same.
"""

import argparse
import asyncio
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import aiohttp
from rich.console import Console
from rich.table import Table

from openai_runs.server import LocalServer
from openai_runs.stores.sqlite import SQLiteStore
from tests.serving import serving

KEYS: Final = "sk-quiet quiet\nsk-loud loud{limits}\n"
JOB: Final = {"thread": {"messages": [{"role": "user", "content": "How is the weather today?"}]}}
GOAL: Final = 2.0
STEP: Final = 0.0003  # seconds: of one request of the load


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
def beside(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """This module as a process of its own, until the end."""
    command = [sys.executable, "-m", "tests.bench.tenants", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def burn(share: float) -> None:
    """Take a share of one processor, until the process is ended."""
    began, used = time.perf_counter(), time.process_time()
    while True:
        behind = (time.perf_counter() - began) * share - (time.process_time() - used)
        if behind < 0.001:
            time.sleep(0.001)
        else:
            until = time.process_time() + min(behind, 0.02)
            while time.process_time() < until:
                pass


async def serve_busily(store: str, share: float) -> None:
    """Serve, while the event loop itself takes a share of one processor; until the process is ended."""
    async with LocalServer(store=SQLiteStore(store), keys={"sk-quiet": "quiet", "sk-loud": "loud"}) as server:
        print(server.url, flush=True)
        began, used = time.perf_counter(), time.process_time()
        while True:
            is_behind = time.process_time() - used < (time.perf_counter() - began) * share
            until = time.thread_time() + STEP
            while is_behind and time.thread_time() < until:
                pass
            await asyncio.sleep(0 if is_behind else 0.001)


def processor_seconds(pid: int) -> float:
    """How long a process has had a processor; from ``/proc``, so on Linux only."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
    """The quiet owner's times in each of the surroundings."""
    times: defaultdict[tuple[str, str], list[float]] = defaultdict(list)

    def take(surroundings: str, url: str) -> None:
        number = options.rounds
        for what, found in asyncio.run(measure(url, options.gets // number, options.runs // number)).items():
            times[what, surroundings] += found

    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder, "keys")
        keys.write_text(KEYS.format(limits="".join(f" {limit}" for limit in options.limit)))
        with serving(Path(folder, "runs.db"), "--keys-file", str(keys), "--no-access-log") as (url, server):
            for number in range(options.rounds):
                take("alone", url)
                with beside("--load", url, "--connections", str(options.connections)) as load:
                    time.sleep(2.0)  # until the load is there
                    pids = load.pid, server.pid
                    began, used = time.perf_counter(), [processor_seconds(pid) for pid in pids]
                    take("beside the load", url)
                    seconds = time.perf_counter() - began
                    shares = [
                        (processor_seconds(pid) - before) / seconds for pid, before in zip(pids, used, strict=True)
                    ]
                    print(f"the load's client took {shares[0]:.0%} of a processor, the server {shares[1]:.0%}")
                time.sleep(2.0)  # until what it has left behind is done
                with ExitStack() as strangers:
                    for share in shares:
                        strangers.enter_context(beside("--burn", str(share)))
                    time.sleep(0.5)
                    take("beside strangers", url)
                store = str(Path(folder, f"busy-{number}.db"))
                with beside("--burn", str(shares[0])), beside("--busy", store, "--share", str(shares[1])) as busy:
                    assert busy.stdout is not None
                    take("in a busy server", busy.stdout.readline().strip())
    return shown(times)


def shown(times: dict[tuple[str, str], list[float]]) -> Table:
    """What was measured, by what was done and in which surroundings."""
    floors = ("alone", "beside strangers", "in a busy server")
    table = Table("what", "surroundings", "p50", "p90", "p99", "p99 to alone", "to strangers", "to a busy server")
    for column in table.columns[2:]:
        column.justify = "right"
    for what in dict.fromkeys(what for what, _ in times):
        for surroundings in (*floors, "beside the load"):
            found = percentiles(times[what, surroundings])
            ratios = [found[-1] / percentiles(times[what, floor])[-1] for floor in floors]
            style = "red" if surroundings == "beside the load" and min(ratios) > GOAL else ""
            cells = [*(f"{time:.2f} ms" for time in found), *(f"{ratio:.1f}" for ratio in ratios)]
            table.add_row(what, surroundings, *cells, style=style)
    return table


def percentiles(times: Sequence[float]) -> list[float]:
    """The 50th, the 90th and the 99th."""
    found = statistics.quantiles(times, n=100)
    return [found[number - 1] for number in (50, 90, 99)]


parser = argparse.ArgumentParser(prog="python -m tests.bench.tenants", description=__doc__)
parser.add_argument("--gets", type=int, default=3000, help="how many runs are read in each of the surroundings")
parser.add_argument("--runs", type=int, default=450, help="how many runs are executed there")
parser.add_argument("--rounds", type=int, default=3, help="how often the surroundings change")
parser.add_argument("--connections", type=int, default=100, help="those of the load")
parser.add_argument("--limit", action="append", default=[], metavar="NAME=NUMBER", help="of the owner at full load")
parser.add_argument("--load", metavar="URL", help=argparse.SUPPRESS)
parser.add_argument("--burn", type=float, metavar="SHARE", help=argparse.SUPPRESS)
parser.add_argument("--busy", metavar="STORE", help=argparse.SUPPRESS)
parser.add_argument("--share", type=float, help=argparse.SUPPRESS)

if __name__ == "__main__":
    options = parser.parse_args()
    if options.load:
        asyncio.run(load(options.load, options.connections))
    elif options.burn is not None:
        burn(options.burn)
    elif options.busy:
        asyncio.run(serve_busily(options.busy, options.share))
    else:
        Console().print(compare(options))
