"""Measure, print each figure beside its peers', and end with the goals: met, or missed and by how much.

``--only`` takes part of the name of what is measured: reading, streams, lifecycle, followers, starting, throughput,
tokens, counts.
"""

import argparse
import asyncio
import os
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path

from rich.console import Console

from tests.bench import counts, figures, followers, goals, lifecycle, reading, starting, streams, throughput, tokens
from tests.bench.rounds import Bench, run_loop

LONG = "starting", "counts"  # which the quick form leaves out
ROUNDS, QUICK_ROUNDS = 9, 3
RUNS, QUICK_RUNS = 10_000, 2_000

parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
parser.add_argument(
    "--quick", action="store_true", help=f"in less than two minutes: less exact, without {' and '.join(LONG)}"
)
parser.add_argument("--only", default="", metavar="PART", help="measure this alone")
parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
parser.add_argument("--rounds", type=int, help=f"of each comparison: {ROUNDS}, or {QUICK_ROUNDS} if quick")
parser.add_argument("--runs", type=int, help=f"scripted runs, end to end: {RUNS}, or {QUICK_RUNS} if quick")
parser.add_argument(
    "--uvloop", action="store_true", help="the client runs on it, where it otherwise runs on asyncio's own event loop"
)


def main() -> None:
    options = parser.parse_args()
    load = os.getloadavg()[0]
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    bench = Bench(console=Console(), quick=options.quick, uvloop=options.uvloop, rounds=rounds)
    runs = options.runs or (QUICK_RUNS if options.quick else RUNS)
    parts: dict[str, Callable[[], Awaitable[None]]] = {
        "reading": lambda: reading.measure(bench),
        "streams": lambda: streams.measure(bench),
        "lifecycle": lambda: lifecycle.measure(bench),
        "followers": lambda: followers.measure(bench),
        "throughput": lambda: throughput.measure(bench, runs),
        "tokens": lambda: tokens.measure(bench),
        "starting": lambda: asyncio.to_thread(starting.measure, bench),
        "counts": lambda: asyncio.to_thread(counts.measure, bench),
    }
    left_out = LONG if options.quick and not options.only else ()
    chosen = {name: part for name, part in parts.items() if options.only in name and name not in left_out}
    if not chosen:
        parser.error(f"nothing is called {options.only!r}: there are {', '.join(parts)}")
    warnings.simplefilter("ignore", DeprecationWarning)  # openai marks all of this deprecated

    async def measure_all() -> None:
        for number, (name, part) in enumerate(chosen.items(), 1):
            bench.console.rule(f"{number} of {len(chosen)}: {name}", align="left")
            await part()

    run_loop(measure_all(), uvloop=options.uvloop)
    form = "quick" if options.quick else "full"
    told = figures.report(bench.figures, form=form, uvloop=options.uvloop, load=load)
    bench.console.print(*(f"{name} {number}" for name, number in told["versions"].items()), sep=", ", highlight=False)
    bench.console.print(goals.table(goals.verdicts(told["figures"])))
    if options.json:
        figures.write(options.json, told)


if __name__ == "__main__":
    main()
