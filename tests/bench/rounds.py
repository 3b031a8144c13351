"""Contenders in interleaved rounds: CPU of this process; servers are other processes, so their work does not count."""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias, TypeVar

from attrs import define, field
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.bench.figures import Figure, in_rounds
from tests.bench.measures import MEASURES

Work: TypeAlias = Callable[[], Awaitable[object]]
T = TypeVar("T")

#: Names of contenders.
OURS: Final = "openai_runs"
FLOOR: Final = "aiohttp, bytes"
OPENAI: Final = "openai"


async def cpu_of(work: Work, times: int, in_flight: int) -> float:
    """CPU seconds of one call, ``in_flight`` of them at a time."""
    left = iter(range(times))

    async def worker() -> None:
        for _ in left:
            await work()

    began = time.process_time()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return (time.process_time() - began) / times


@define
class Bench:
    """How much to measure, and what has been."""

    console: Console
    quick: bool  #: few rounds, of small work
    uvloop: bool  #: whether the client runs on it
    rounds: int
    figures: dict[str, Figure] = field(factory=dict)

    def track(self, of: Iterable[T], what: str, total: float | None = None) -> Iterable[T]:
        """Go through it with a progress bar."""
        return track(of, what, total, console=self.console, transient=True)

    def add(self, key: str, *ours: float, floor: float | None = None) -> None:
        """Keep a figure that was measured once; or the median, if it was several times."""
        self.figures[key] = in_rounds(ours, [] if floor is None else [floor])

    async def compare(
        self, key: str, contenders: Mapping[str, Work], *, times: int, in_flight: int = 1, per: float = 1
    ) -> None:
        """Keep the medians of rounds in which each contender has its turn, and print them.

        Each round begins with another contender, so that none is always the first.

        Args:
            key: Of the measure.
            contenders: `OURS` and its peers.
            times: How often each does its work in a round; a third of it in the quick form.
            in_flight: How many of them at once.
            per: How many units one piece of work has.
        """
        name = MEASURES[key].name
        if self.quick:
            times = max(times // 3, in_flight)
        for work in contenders.values():
            await cpu_of(work, max(times // 10, min(times, in_flight)), in_flight)
        took: dict[str, list[float]] = {contender: [] for contender in contenders}
        order = list(contenders)
        for _ in self.track(range(self.rounds), name):
            for contender in order:
                took[contender].append(await cpu_of(contenders[contender], times, in_flight) * 1e6 / per)
            order.append(order.pop(0))
        self.figures[key] = in_rounds(took[OURS], took[FLOOR], took[OPENAI])
        self.console.print(_table(name, "µs", took))


def _table(title: str, unit: str, took: Mapping[str, list[float]]) -> Table:
    table = Table(title=title, title_justify="left", min_width=72)
    for heading in ("", unit, "ours / theirs"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, figures in took.items():
        shares = [ours / theirs for ours, theirs in zip(took[OURS], figures, strict=True)]
        share = "" if name == OURS else f"{statistics.median(shares):.2f}"
        table.add_row(f"{name} (floor)" if name == FLOOR else name, f"{statistics.median(figures):.1f}", share)
    return table


def run_loop(main: Coroutine[Any, Any, T], *, uvloop: bool) -> T:
    """Run it on asyncio's own event loop, or on uvloop."""
    factory = None
    if uvloop:
        from uvloop import new_event_loop as factory
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


@asynccontextmanager
async def stub(module: str) -> AsyncGenerator[str, None]:
    """A server process that answers with bytes made beforehand; its origin."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await server.stdout.readline())}"
    finally:
        server.stdin.close()
        await server.wait()
