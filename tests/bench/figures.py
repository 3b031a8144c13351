"""What has been measured, and where: written as JSON, from which the page about performance is made."""

import json
import os
import platform
import sqlite3
import statistics
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from attrs import asdict, frozen

from tests.bench.goals import verdicts
from tests.bench.measures import MEASURES, Measure

PACKAGES: Final = "openai_runs", "aiohttp", "cattrs", "msgspec", "openai", "uvloop"


@frozen
class Figure:
    """One measure: of this library and, where there are such, of the floor and of openai-python."""

    ours: float
    floor: float | None = None
    openai: float | None = None
    #: Ours as a share of theirs: of figures taken in rounds, the median of the rounds' shares.
    to_floor: float | None = None
    to_openai: float | None = None


def in_rounds(ours: Sequence[float], floor: Sequence[float] = (), openai: Sequence[float] = ()) -> Figure:
    """The medians of figures that were taken in the same rounds, or of single ones."""

    def share(theirs: Sequence[float]) -> float | None:
        return statistics.median(a / b for a, b in zip(ours, theirs, strict=True)) if theirs else None

    return Figure(
        statistics.median(ours),
        statistics.median(floor) if floor else None,
        statistics.median(openai) if openai else None,
        share(floor),
        share(openai),
    )


def report(figures: Mapping[str, Figure], *, form: str, uvloop: bool, load: float) -> dict[str, Any]:
    """All of it, as JSON has it, with the machine and the versions.

    Args:
        figures: By key.
        form: ``full`` or ``quick``.
        uvloop: Whether the client ran on it.
        load: The machine's load when measuring began: processes that wanted to run, this one not among them.
    """
    told = {key: _told(measure, figures[key]) for key, measure in MEASURES.items() if key in figures}
    return {
        "taken": datetime.now(UTC).date().isoformat(),
        "form": form,
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "processor": _processor(),
            "system": f"{platform.system()} {platform.machine()}",
            "load": round(load, 2),
        },
        "versions": {"python": f"{platform.python_implementation()} {platform.python_version()}"}
        | {name: version(name) for name in PACKAGES if name != "uvloop" or uvloop}
        | {"sqlite": sqlite3.sqlite_version},
        "figures": told,
        "goals": [asdict(verdict) for verdict in verdicts(told)],
    }


def _told(measure: Measure, figure: Figure) -> dict[str, Any]:
    """Four digits of each number, and no field that has none."""
    numbers = {name: float(f"{value:.4g}") for name, value in asdict(figure).items() if value is not None}
    return asdict(measure) | numbers


def _processor() -> str:
    """What the system calls it."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def read(path: Path) -> dict[str, Any]:
    """A report that was written."""
    return json.loads(path.read_text("utf-8"))


def write(path: Path, told: Mapping[str, Any]) -> None:
    """Write a report."""
    path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", "utf-8")
