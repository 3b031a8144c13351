"""Harm servers that share a PostgreSQL, round after round, and say what was found.

``python -m tests.replicas --servers 3 --rounds 20``
"""

import argparse
import itertools
import os
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import anyio
from rich.console import Console
from rich.table import Table

from tests.postgres import postgres
from tests.replicas.delays import Delay, Delays
from tests.replicas.trial import KINDS, Round, Trial


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.replicas", description=__doc__)
    parser.add_argument("--servers", type=int, default=2)
    parser.add_argument("--runs-at-once", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--runs", type=int, help="in each round so many, rather than always some at once")
    parser.add_argument("--room", type=int, help="runs that each server executes at once; unset: more than there are")
    parser.add_argument("--fault", choices=(*KINDS, "none", "all"), action="append", help="can be repeated")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgres-bin", type=Path, help="the folder of another PostgreSQL's programs")
    parser.add_argument("--delays", action="store_true", help="measure delays between servers, too")
    parser.add_argument("--keep", type=Path, help="a folder in which the servers' logs stay; a short path")
    return parser.parse_args()


def _shown(rounds: list[Round]) -> Table:
    table = Table(
        "round", "seed", "what happened", "runs", "interrupted", "resumed after", "calls repeated", "s", "faults"
    )
    for each in rounds:
        times = f"{median(each.resumed):.1f}, at most {max(each.resumed):.1f} s" if each.resumed else ""
        cells = each.number, each.seed, each.what, each.started, each.interrupted, times, each.repeated
        table.add_row(*map(str, cells), f"{each.seconds:.0f}", str(len(each.faults) or ""))
    return table


def _shown_delays(delays: list[Delay]) -> Table:
    table = Table("delay", "times", "p50", "p99", "goal")
    for each in delays:
        table.add_row(each.what, str(each.number), f"{each.p50:.1f} ms", f"{each.p99:.1f} ms", each.goal)
    return table


def main() -> None:
    options = _parsed()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing that was started is left
    kinds = options.fault or ["all"]
    kinds = list(KINDS) if "all" in kinds else kinds
    console = Console(width=None if os.isatty(1) else 180)
    with ExitStack() as stack, console.status("starting") as status:
        if options.keep is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rep-")))
        else:
            folder = options.keep
            folder.mkdir(parents=True)
        database = stack.enter_context(postgres(is_durable=True, programs=options.postgres_bin))
        note = status.update if os.isatty(1) else console.print
        delays = Delays(database, folder / "delays")
        if options.delays:
            delays.folder.mkdir()
            status.update("measuring delays")
            anyio.run(delays.run)
            console.print(_shown_delays(delays.found), *delays.faults)
        trial = Trial(database, folder, options.servers, options.runs_at_once, options.seed, options.room, note)
        try:
            anyio.run(_run, trial, list(itertools.islice(itertools.cycle(kinds), options.rounds)), options.runs)
        finally:
            console.print(_shown(trial.rounds))
            for each in trial.rounds:
                for fault in each.faults[:15]:
                    console.print(f"seed {each.seed}, round {each.number}, {each.what}: {fault}", markup=False)
    faults = sum(len(each.faults) for each in trial.rounds) + len(delays.faults)
    seeds = sorted({each.seed for each in trial.rounds if each.faults})
    raise SystemExit(f"{faults} faults, with the seeds {seeds}" if faults else 0)


async def _run(trial: Trial, kinds: list[str], number: int | None) -> None:
    await trial.run(kinds, number=number)


if __name__ == "__main__":
    main()
