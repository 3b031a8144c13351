"""What a paced session gets out of an endpoint's limits; and what a bound of polls adds to noticing a run's end.

``python -m tests.bench.pacing``: all at once, since each needs little CPU and much time.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from attrs import field, frozen
from rich.console import Console
from rich.table import Table

from openai_runs import RateLimits, RunJob, Session, run_batch
from tests.bench.limited_stub import OPTIONS

REQUESTS, TOKENS = 600, 90_000  # a minute
WARM_UP = 60.0  # seconds, from then on a batch is counted a second time
LIMITS = RateLimits(requests_per_minute=REQUESTS, tokens_per_minute=TOKENS)
UNCOUNTED = RateLimits(requests_per_minute=REQUESTS, tokens_per_minute=TOKENS, counts_reads=False)


@frozen
class Case:
    """A batch, and what binds it."""

    name: str
    limits: RateLimits | None
    server: dict[str, Any]
    tokens: int  #: that a run uses on average
    workers: int = 100
    reads: bool = field(default=True)  #: whether they count

    def allowed(self, seconds: float, other_reads: float) -> float:
        """Jobs that the limits allow in that time, if each run is polled once."""
        a_job = 1 + (1 + other_reads if self.reads else 0)
        return seconds / 60 * min(REQUESTS / a_job, TOKENS / self.tokens)


CASES = [
    Case("requests, polls counted", LIMITS, {"run_tokens": [100, 200]}, 150),
    Case("requests, polls not counted", UNCOUNTED, {"run_tokens": [50, 100], "counts_reads": False}, 75, reads=False),
    Case("tokens", LIMITS, {"run_tokens": [200, 1000]}, 600),
    Case("requests, by headers only", None, {"run_tokens": [100, 200], "headers": True}, 150),
    Case("tokens, by headers only", None, {"run_tokens": [200, 1000], "headers": True}, 600),
    Case("requests, by 429 responses only", None, {"run_tokens": [100, 200]}, 150),
]


@asynccontextmanager
async def stub(options: dict[str, Any], counts: dict[str, Any]) -> AsyncGenerator[str, None]:
    """A server of its own; at its end, ``counts`` has what it has counted."""
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.limited_stub",
        json.dumps(options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert server.stdout is not None
    assert server.stdin is not None
    yield f"http://127.0.0.1:{int(await server.stdout.readline())}/v1"
    server.stdin.close()
    counts.update(json.loads(await server.stdout.readline()))
    await server.wait()


def _jobs() -> Iterator[RunJob]:
    while True:
        yield RunJob(assistant_id="asst_1")


async def measure(case: Case, seconds: float) -> list[str]:
    """Run jobs for that time, and count."""
    counts: dict[str, Any] = {}
    done = early = failed = 0
    async with (
        stub({"requests": REQUESTS, "tokens": TOKENS} | case.server, counts) as url,
        Session(url, "key", rate_limits=case.limits) as session,
    ):
        began = time.monotonic()
        async with run_batch(session, _jobs(), workers=case.workers, on_exit="leave") as results:
            async for result in results:
                if (age := time.monotonic() - began) >= seconds:
                    break
                done, failed = done + result.ok, failed + (not result.ok)
                early += result.ok and age < WARM_UP
    other_reads = counts.get("other reads", 0) / max(done, 1)
    # A full bucket at the start is allowed, too.
    allowed = case.allowed(seconds + OPTIONS["burst"], other_reads)
    later = case.allowed(seconds - WARM_UP, other_reads)
    refused = counts.get("refused", 0) / counts["requests"]
    return [
        case.name,
        f"{done}",
        f"{allowed:.0f}",
        f"{done / allowed:.1%}",
        f"{(done - early) / later:.1%}",
        f"{refused:.2%}",
        f"{counts['polls'] / max(done, 1):.2f}",
        f"{failed}",
    ]


async def follow(runs: int, polls_per_second: float, seconds: float) -> list[str]:
    """Follow many runs that end one after another."""
    counts: dict[str, Any] = {}
    async with stub({"run_seconds": [seconds / 2, seconds]}, counts) as url:
        limits = RateLimits(polls_per_second=polls_per_second)
        async with Session(url, "key", rate_limits=limits) as session:

            async def one() -> None:
                await session.runs.complete(await session.threads.create_and_run(assistant_id="asst_1"))

            began = time.monotonic()
            await asyncio.gather(*(one() for _ in range(runs)))
            took = time.monotonic() - began
    mean, longest = counts["noticed"]
    return [
        f"{runs}",
        f"{polls_per_second:.0f}",
        f"{counts['polls'] / took:.0f}",
        f"{counts['most polls a second']}",
        f"{mean:.1f} s",
        f"{longest:.1f} s",
        f"{runs / polls_per_second:.1f} s",
    ]


def show(title: str, headings: list[str], rows: list[list[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right" if table.columns else "left")
    for row in rows:
        table.add_row(*row)
    Console(width=130).print(table)


async def longest_stall() -> float:
    """Seconds for which this process did not run, until cancelled: what it could not send then is lost."""
    longest = 0.0
    try:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.02)
            longest = max(longest, time.monotonic() - began)
    except asyncio.CancelledError:
        return longest


async def main(seconds: float, runs: int) -> None:
    stall = asyncio.create_task(longest_stall())
    rows = await asyncio.gather(*(measure(case, seconds) for case in CASES))
    stall.cancel()
    headings = ["bound by", "completed", "allowed", "of it", "after a minute", "429", "polls a job", "failed"]
    show(
        f"{REQUESTS} requests and {TOKENS} tokens a minute, {seconds:.0f} s; longest stall {await stall:.1f} s",
        headings,
        list(rows),
    )
    open_runs = [await follow(runs, 10_000, 60.0), await follow(runs, 50, 60.0), await follow(50, 50, 30.0)]
    headings = ["open runs", "bound", "polls/s", "most", "noticed after", "at most", "runs / bound"]
    show("polls of runs that are followed", headings, open_runs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=240.0, help="of each batch")
    parser.add_argument("--runs", type=int, default=1000, help="that are followed at once")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.seconds, arguments.runs))
