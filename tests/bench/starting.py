"""How long a program takes to start, in seconds on the wall; what that costs is counted in `tests.bench.counts`."""

import subprocess
import sys
import time

from rich.table import Table

from tests.bench.figures import in_rounds
from tests.bench.measures import MEASURES
from tests.bench.rounds import Bench

PACKAGES = "import aiohttp, attrs, cattrs, anyio"
OPENAI = "from openai import AsyncOpenAI"
STATEMENTS = {
    "import wall": "import openai_runs",
    "session wall": "from openai_runs import Session",
    "runs wall": "from openai_runs import Session; Session('http://127.0.0.1').runs",
}


def measure(bench: Bench) -> None:
    """From the start of the interpreter, less its own; in interleaved rounds."""
    statements = [*STATEMENTS.values(), PACKAGES, OPENAI]
    took: dict[str, list[float]] = {statement: [] for statement in statements}
    for _ in bench.track(range(bench.rounds), "starting"):
        bare = _milliseconds("pass")
        for statement in statements:
            took[statement].append(_milliseconds(statement) - bare)
    table = Table("start of a program, ms on the wall", "openai_runs", "its four packages", "openai", min_width=72)
    for key, statement in STATEMENTS.items():
        figure = bench.figures[key] = in_rounds(took[statement], took[PACKAGES], took[OPENAI])
        table.add_row(MEASURES[key].name, f"{figure.ours:.0f}", f"{figure.floor:.0f}", f"{figure.openai:.0f}")
    bench.console.print(table)


def _milliseconds(statement: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return (time.perf_counter() - began) * 1e3
