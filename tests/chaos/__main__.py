"""Live many lifecycles over a faulty network, kill a server under a batch, cancel everything wherever it waits."""

import argparse
import logging
import tempfile
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from unittest.mock import patch

import anyio
import stamina
from attrs import evolve
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from openai_runs.pacing.pace import Pace
from tests.chaos.cancelling import WAYS, cancelling
from tests.chaos.causes import DEADLINE, UNAVOIDABLE, Raise
from tests.chaos.killed import KilledBatch
from tests.chaos.lifecycles import live
from tests.chaos.operations import OPERATIONS
from tests.chaos.verdicts import LATE, SOUND, Verdict
from tests.serving import Server

#: How many defects are printed in full; the table counts them all.
_SHOWN = 30

#: In place of a cause.
NONE = "none: it could have done better"

console = Console()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--lifecycles", type=int, default=1000)
    parser.add_argument("--seed", default="1")
    parser.add_argument(
        "--patient", action="store_true", help="callers whose every lifecycle has to end as the server says"
    )
    parser.add_argument("--only", help="the name of one lifecycle, SEED-NUMBER")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=500, help="of the batch whose server is killed")
    parser.add_argument("--cancel", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


def progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=not console.is_terminal)


def show(title: str, counts: Counter[str], bad: set[str]) -> None:
    table = Table("what", "how often", title=title)
    for kind, count in counts.most_common():
        table.add_row(kind, str(count), style="red" if kind in bad else "")
    console.print(table)


def live_all(names: list[str], *, is_patient: bool) -> list[str]:
    # No backoff, and no pause after a 429: there are hundreds of them.
    with (
        progress() as bar,
        stamina.set_testing(True, attempts=100, cap=True),
        patch.object(Pace, "note_refusal", lambda *_: None),
    ):
        task = bar.add_task("lifecycles", total=len(names))

        def note(name: str, verdicts: list[Verdict]) -> None:
            defects = [verdict for verdict in verdicts if verdict.is_defect]
            for verdict in defects:
                bar.console.print(f"{name}: {verdict.kind}", style="red", highlight=False)
            bar.advance(task)

        lived = anyio.run(partial(live, is_patient=is_patient), names, note)
    show("faults of the network", lived.faults, set())
    show("outcomes", lived.outcomes, set(lived.outcomes) - {*SOUND, LATE})
    show_raises(lived.raises)
    show_promise(lived.kept, lived.raises)
    return lived.defects


def show_raises(raises: Counter[Raise]) -> None:
    """One row for each kind, whatever the last fault and the allowed retries, and one for each cause."""
    faults: defaultdict[Raise, Counter[str]] = defaultdict(Counter)
    causes: Counter[str] = Counter()
    for raised, count in raises.items():
        faults[evolve(raised, fault="", max_retries=0, tolerates_outages=False)][raised.fault] += count
        causes[raised.cause or NONE] += count
    table = Table("cause", "how", "keys", "operation", "error", "how often", "last fault", title="raised")
    for raised, kinds in sorted(faults.items(), key=lambda row: (-causes[row[0].cause or NONE], -row[1].total())):
        table.add_row(
            raised.cause or NONE,
            raised.outcome.removeprefix("raised").lstrip(", "),
            "yes" if raised.has_keys else "no",
            raised.operation,
            raised.error,
            str(kinds.total()),
            ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()),
            style="" if raised.cause else "red",
        )
    console.print(table)
    table = Table("cause", "how often", "why no client can do better", title="causes")
    for cause, count in causes.most_common():
        table.add_row(cause, str(count), UNAVOIDABLE.get(cause, ""))
    console.print(table)


def show_promise(kept: Counter[tuple[int, bool]], raises: Counter[Raise]) -> None:
    """What can be promised: where keys are honoured, and no deadline was in the way."""
    others: Counter[tuple[int, bool, str]] = Counter()
    for raised, count in raises.items():
        if raised.has_keys and raised.cause != DEADLINE:
            others[raised.max_retries, raised.tolerates_outages, raised.cause or NONE] += count
    causes = sorted({cause for *_, cause in others})
    title = "where keys are honoured, within the deadline"
    table = Table("retries allowed", "outages tolerated", SOUND[0], *causes, title=title)
    for settings in sorted(kept):
        retries, tolerates = settings
        raised_by = (str(others[*settings, cause]) for cause in causes)
        table.add_row(str(retries), "yes" if tolerates else "no", str(kept[settings]), *raised_by)
    console.print(table)
    console.print(
        f"{kept.total()} of {kept.total() + others.total()} lifecycles against a server with keys and within their "
        "deadline ended with what the server says",
        highlight=False,
    )


def kill_all(jobs: int, kills: int) -> list[str]:
    with tempfile.TemporaryDirectory() as folder, progress() as bar:
        task = bar.add_task(f"batch, {kills} kills", total=jobs)
        batch = KilledBatch(
            Server(Path(folder) / "runs.db"), jobs, kills, lambda done: bar.update(task, completed=done)
        )
        anyio.run(batch.run)
    show(f"{jobs} jobs under {kills} kills", batch.counts, {"without a result"})
    return batch.defects


async def cancel_all(counts: Counter[str]) -> list[str]:
    defects: list[str] = []
    with progress() as bar:
        task = bar.add_task("cancellation", total=len(OPERATIONS) * len(WAYS))
        async with cancelling() as attempts:
            for operation in OPERATIONS:
                for way in WAYS:
                    findings = await attempts.find(operation, way)
                    counts["points"] += findings.points
                    counts["points hit"] += len(findings.hit)
                    defects += findings.problems
                    bar.advance(task)
    counts["problems"] = len(defects)
    if counts["points hit"] < counts["points"] or not counts["points"]:
        defects.append("not every point was hit")
    return defects


def main() -> None:
    options = arguments()
    logging.disable(logging.CRITICAL)  # what goes wrong is looked at, not read
    defects = []
    names = [options.only] if options.only else [f"{options.seed}-{number}" for number in range(options.lifecycles)]
    if names:
        defects += live_all(names, is_patient=options.patient)
    if options.kills and not options.only:
        defects += kill_all(options.jobs, options.kills)
    if options.cancel and not options.only:
        counts: Counter[str] = Counter()
        with stamina.set_testing(True, attempts=100, cap=True):
            defects += anyio.run(cancel_all, counts)
        show("cancellation", counts, {"problems"} if counts["problems"] else set())
    for defect in defects[:_SHOWN]:
        console.print(defect, highlight=False, markup=False)
    raise SystemExit(f"{len(defects)} defects" if defects else 0)


main()
