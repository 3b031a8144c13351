"""Many runs followed in one process, none of which ends: memory of each, and how late the event loop is meanwhile.

``python -m tests.bench.followers ORIGIN RUNS SECONDS [uvloop]`` follows them, in a process of its own because memory
that other measures have freed would be used first, and prints JSON.
"""

import asyncio
import gc
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator

from rich.table import Table

from openai_runs import Run, Session
from tests.bench.rounds import Bench, run_loop, stub
from tests.bench.throughput import Requests, resident

RUNS = 10_000
TICK = 0.001  # seconds
STARTERS = 50  # tasks that start runs, so that none waits for a connection and takes memory for that
SETTLING = 3.0  # seconds in which no more polls than are due have to be sent before anything is measured
POLLS_A_SECOND, LONGEST = 200, 5.0  # defaults: of `RateLimits`, of `Polling`


async def measure(bench: Bench) -> None:
    seconds = 3.0 if bench.quick else 15.0
    async with stub("tests.bench.batch_stub") as origin:
        program = (sys.executable, "-m", "tests.bench.followers", origin, f"{RUNS}", f"{seconds}")
        loop = ["uvloop"] if bench.uvloop else []
        child = await asyncio.create_subprocess_exec(*program, *loop, stdout=asyncio.subprocess.PIPE)
        with bench.console.status(f"following {RUNS:,} runs"):
            told, _ = await child.communicate()
    found = json.loads(told)
    bench.add("follower memory", found["memory"] * 1024)
    bench.add("follower delay", found["delay"] * 1e3)
    table = Table(title=f"{RUNS:,} runs followed, none of which ends", title_justify="left", show_header=False)
    table.add_row("memory of each", f"{found['memory'] * 1024:.2f} KB")
    table.add_row("event loop late, p50, p99", f"{found['median'] * 1e3:.2f} ms, {found['delay'] * 1e3:.2f} ms")
    table.add_row("polls a second, due and sent", f"{found['due']:.0f}, {found['sent']:.0f}")
    bench.console.print(table)


async def follow(origin: str, count: int, seconds: float) -> dict[str, float]:
    """Follow so many for so long.

    Returns:
        ``memory`` of each run in MB, ``median`` and ``delay`` (the p99) of the event loop in seconds, polls a second
        that were ``due`` and ``sent``.
    """
    async with Session(f"{origin}/waiting/v1", "sk-benchmark") as session:
        runs, requests = session.runs, Requests()
        requests.watch(session)
        tasks: list[asyncio.Task[None]] = []
        expected, all_seen = 0, asyncio.Event()  # runs that are waited for; whether each has been polled once

        async def one(run: Run) -> None:
            nonlocal expected
            async for event in runs.follow(run):
                if event.run.status == "in_progress":
                    expected -= 1
                    if not expected:
                        all_seen.set()

        async def starter(left: Iterator[int]) -> None:
            for _ in left:
                run = await runs.create("thread_1", assistant_id="asst_1")
                tasks.append(asyncio.create_task(one(run)))

        async def start(number: int) -> None:
            nonlocal expected
            expected, left = number, iter(range(number))
            all_seen.clear()
            await asyncio.gather(*(starter(left) for _ in range(STARTERS)))
            await all_seen.wait()
            # The poll after a change takes no turn, either: 10,000 of them would be what is measured.
            sent = -math.inf
            while requests.count - sent > 1.1 * POLLS_A_SECOND * SETTLING:
                sent = requests.count
                await asyncio.sleep(SETTLING)

        await start(STARTERS)  # opens the connections, and loads what is used first
        gc.collect()
        before = resident()
        await start(count)
        sent, began = requests.count, time.perf_counter()
        delays = await _delays(seconds)
        sent, took = requests.count - sent, time.perf_counter() - began
        gc.collect()
        memory = (resident() - before) / count
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {
        "memory": memory,
        "median": statistics.median(delays),
        "delay": statistics.quantiles(delays, n=100)[98],
        "due": min(POLLS_A_SECOND, len(tasks) / LONGEST),
        "sent": sent / took,
    }


async def _delays(seconds: float) -> list[float]:
    """How late the event loop is, tick by tick."""
    delays, end = list[float](), time.perf_counter() + seconds
    while (now := time.perf_counter()) < end:
        await asyncio.sleep(TICK)
        delays.append(time.perf_counter() - now - TICK)
    return delays


def main(origin: str, runs: str, seconds: str, *loop: str) -> None:
    print(json.dumps(run_loop(follow(origin, int(runs), float(seconds)), uvloop=bool(loop))))


if __name__ == "__main__":
    main(*sys.argv[1:])
