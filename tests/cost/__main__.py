"""Count what things cost, and compare with what they cost before: ``python -m tests.cost [--write]``."""

import argparse
import json
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.cost.instructions import MEASURES
from tests.cost.lifecycle import of_lifecycle

FIGURES: Final = Path(__file__).with_name("figures.json")
#: How much more is no more: instructions differ by less between two counts of the same.
TOLERANCE: Final = 0.02

parser = argparse.ArgumentParser(prog="python -m tests.cost", description=__doc__)
parser.add_argument("--write", action="store_true", help="keep these figures, for later changes to be compared with")
parser.add_argument("--only", help="a part of the names of what is counted")
options = parser.parse_args()
console = Console()
chosen = {name: count for name, count in MEASURES.items() if (options.only or "") in name}
now: dict[str, float] = {
    name: count() for name, count in track(chosen.items(), "counting instructions", console=console, transient=True)
}
if options.only is None:
    now |= {name: round(count, 2) for name, count in of_lifecycle().items()}
before = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}

table = Table("what", "before", "now", "change")
for column in table.columns[1:]:
    column.justify = "right"
worse = []
for name, figure in now.items():
    then = before.get(name)
    change = 0.0 if then is None else figure / then - 1
    if change > TOLERANCE:
        worse.append(name)
    table.add_row(
        name,
        "-" if then is None else f"{then:,}",
        f"{figure:,}",
        f"{change:+.1%}",
        style="red" if change > TOLERANCE else "green" if change < -TOLERANCE else "",
    )
console.print(table)
if options.write:
    FIGURES.write_text(json.dumps(before | now, indent=2) + "\n")
elif worse:
    raise SystemExit(f"more than {TOLERANCE:.0%} dearer: {', '.join(worse)}; --write keeps the new figures")
