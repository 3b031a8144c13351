"""Instructions of what `tests.cost` counts, beside those of aiohttp alone."""

import shutil
from typing import Final

from rich.table import Table

from tests.bench.measures import MEASURES
from tests.bench.rounds import Bench
from tests.cost import instructions

#: By key: what is counted, and its floor.
COUNTED: Final = {
    "get instructions": ("GET of a run, client", "GET, aiohttp alone"),
    "import instructions": ("import of openai_runs", "import of its four packages"),
    "session instructions": ("import of Session", "import of its four packages"),
    "start instructions": ("start to the first GET", "start to the first GET, aiohttp alone"),
    "server get instructions": ("GET of a run, server", "GET, aiohttp's server alone"),
}


def measure(bench: Bench) -> None:
    """Count, where there is valgrind; that takes minutes."""
    if shutil.which("valgrind") is None:
        bench.console.print("no instructions are counted, since there is no valgrind")
        return
    both = instructions.MEASURES | instructions.FLOORS
    wanted = dict.fromkeys(name for pair in COUNTED.values() for name in pair)
    counts = {name: both[name]() for name in bench.track(wanted, "counting instructions")}
    table = Table("instructions", "openai_runs", "floor", "ours / theirs", min_width=72)
    for column in table.columns[1:]:
        column.justify = "right"
    for key, (ours, floor) in COUNTED.items():
        bench.add(key, counts[ours], floor=counts[floor])
        table.add_row(
            MEASURES[key].name, f"{counts[ours]:,}", f"{counts[floor]:,}", f"{counts[ours] / counts[floor]:.2f}"
        )
    bench.console.print(table)
