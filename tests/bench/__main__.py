"""Measure, and print each figure beside its peers': medians of interleaved rounds, as ratios.

CPU is this process's own; the server is another process, so its work does not count.
"""

import argparse
import asyncio
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.metadata import version

import aiohttp
import openai
from rich.console import Console
from rich.progress import track
from rich.table import Table

import openai_runs
from tests.bench import streams, throughput, tokens

Work = Callable[[], Awaitable[object]]
console = Console()


async def cpu_of(work: Work, times: int, in_flight: int) -> float:
    """CPU seconds of one call, ``in_flight`` of them at a time."""
    left = iter(range(times))

    async def worker() -> None:
        for _ in left:
            await work()

    began = time.process_time()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return (time.process_time() - began) / times


async def compare(
    contenders: dict[str, Work], *, times: int, in_flight: int, rounds: int, what: str
) -> dict[str, float]:
    """Median CPU seconds a call for each contender; rounds are interleaved, so that all meet the same weather."""
    for work in contenders.values():
        await cpu_of(work, max(times // 10, in_flight), in_flight)
    took: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in track(range(rounds), what, console=console, transient=True):
        for name, work in contenders.items():
            took[name].append(await cpu_of(work, times, in_flight))
    return {name: statistics.median(figures) for name, figures in took.items()}


def import_times(rounds: int) -> dict[str, float]:
    """Median wall seconds from the start of the interpreter, less its own."""
    statements = {
        "openai_runs": "from openai_runs import Session",
        "openai_runs, no name of it": "import openai_runs",
        "openai_runs, with runs used": "from openai_runs import Session; Session('http://127.0.0.1').runs",
        "its four packages": "import aiohttp, attrs, cattrs, anyio",
        "openai": "from openai import AsyncOpenAI",
        "python": "pass",
    }
    took: dict[str, list[float]] = {name: [] for name in statements}
    for _ in track(range(rounds), "import", console=console, transient=True):
        for name, statement in statements.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            took[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(figures) for name, figures in took.items()}
    bare = medians.pop("python")
    return {name: figure - bare for name, figure in medians.items()}


def show(title: str, figures: dict[str, float], *, unit: str, per_second: float, floor: str) -> None:
    ours = figures["openai_runs"]
    table = Table(title=title, title_justify="left", min_width=72)
    for heading in ("", unit, "ours / theirs"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, figure in figures.items():
        label = f"{name} (floor)" if name == floor else name
        table.add_row(label, f"{figure * per_second:.1f}", "" if name == "openai_runs" else f"{ours / figure:.2f}")
    console.print(table)


async def measure(rounds: int) -> None:
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.stub", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    url = f"http://127.0.0.1:{int(await server.stdout.readline())}/v1"
    headers = {"Authorization": "Bearer sk-benchmark", "OpenAI-Beta": "assistants=v2"}
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(openai_runs.Session(url, "sk-benchmark"))
        http = await stack.enter_async_context(aiohttp.ClientSession(headers=headers))
        client = await stack.enter_async_context(openai.AsyncOpenAI(base_url=url, api_key="sk-benchmark"))
        one, many = f"{url}/threads/thread_abc/runs/run_abc", f"{url}/threads/thread_abc/runs?limit=100"

        async def floor(address: str) -> bytes:
            async with http.get(address) as response:
                return await response.read()

        retrieve: dict[str, Work] = {
            "openai_runs": lambda: session.runs.retrieve(thread_id="thread_abc", run_id="run_abc"),
            "aiohttp, bytes": lambda: floor(one),
            "openai": lambda: client.beta.threads.runs.retrieve("run_abc", thread_id="thread_abc"),
        }
        for in_flight, times in ((1, 300), (64, 1000)):
            title = f"retrieve a run, {in_flight} in flight: CPU"
            figures = await compare(retrieve, times=times, in_flight=in_flight, rounds=rounds, what=title)
            show(title, figures, unit="µs", per_second=1e6, floor="aiohttp, bytes")

        async def openai_page() -> object:
            return await client.beta.threads.runs.list("thread_abc", limit=100)

        pages: dict[str, Work] = {
            "openai_runs": lambda: session.runs.list("thread_abc", limit=100).page(),
            "aiohttp, bytes": lambda: floor(many),
            "openai": openai_page,
        }
        title = "list 100 runs: CPU a run"
        figures = await compare(pages, times=40, in_flight=1, rounds=rounds, what=title)
        show(title, figures, unit="µs", per_second=1e4, floor="aiohttp, bytes")
    assert server.stdin is not None
    server.stdin.close()
    await server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="of each comparison")
    parser.add_argument("--runs", type=int, default=10_000, help="scripted runs, end to end")
    options = parser.parse_args()
    rounds = options.rounds
    packages = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "cattrs", "msgspec", "openai"))
    console.print(f"Python {platform.python_version()}, {platform.machine()}; {packages}")
    warnings.simplefilter("ignore", DeprecationWarning)  # openai marks all of this deprecated
    asyncio.run(measure(rounds))
    asyncio.run(streams.measure(rounds, compare, show))
    asyncio.run(tokens.measure(console))
    asyncio.run(throughput.measure(options.runs, 500, console))
    show("import: wall", import_times(rounds), unit="ms", per_second=1e3, floor="its four packages")


main()
