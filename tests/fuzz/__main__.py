"""Search with atheris for inputs that break a target's promises, and say how far the search got."""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

_LONGEST_INPUT = 20_000  # bytes
_LONGEST_TIME = 10  # seconds for one input; libFuzzer then keeps it as `timeout-…`, and stops

console = Console()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", choices=TARGETS, action="append", help="can be repeated; all of them if unset")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--folder", type=Path, default=Path(".nox/fuzz"), help="keeps what was found, for the next time"
    )
    parser.add_argument("--input", type=Path, help="only show what the target makes of this file")
    return parser.parse_args()


def search(target: Target, folder: Path, options: argparse.Namespace) -> Iterator[str]:
    """Run one target; yields the cells of its row, the last of them a line for each find.

    Raises:
        SystemExit: atheris is not installed, or has ended without a find.
    """
    corpus, finds = folder / target.name / "corpus", folder / target.name / "finds"
    for each in (corpus, finds):
        each.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    for old in finds.iterdir():  # tried again: what is not mended is found again
        old.replace(corpus / f"find-{old.name}")
    limits = (f"-max_total_time={options.seconds}", f"-timeout={_LONGEST_TIME}", f"-max_len={_LONGEST_INPUT}")
    command = [sys.executable, "-m", "tests.fuzz.campaign", target.name, str(corpus), str(finds)]
    command += [*limits, f"-seed={options.seed}", "-print_final_stats=1"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    found = sorted(map(str, finds.iterdir()))
    if done.returncode and not found:
        raise SystemExit(f"{target.name} ended early: {done.stderr[-2000:]}")
    yield last(r"executed_units: (\d+)", done.stderr)
    yield last(r"exec_per_sec: +(\d+)", done.stderr)
    yield last(r"cov: (\d+)", done.stderr)
    yield last(r"corp: (\d+)", done.stderr)
    yield "\n".join(found)


def last(pattern: str, text: str) -> str:
    return (re.findall(pattern, text) or ["?"])[-1]


def main() -> None:
    options = arguments()
    names = options.target or list(TARGETS)
    if options.input is not None:
        for name in names:
            TARGETS[name].check(options.input.read_bytes())
        return
    table = Table("target", "inputs", "a second", "edges reached", "corpus", "finds")
    finds: list[str] = []
    for name in names:
        with console.status(f"{name}, {options.seconds} s"):
            row = list(search(TARGETS[name], options.folder, options))
        found = row.pop().splitlines()
        table.add_row(name, *row, str(len(found)), style="red" if found else "")
        finds += [f"--target {name} --input {path}" for path in found]
    console.print(table)
    for find in finds:  # the arguments that show it
        console.print(find, highlight=False, markup=False, soft_wrap=True)
    raise SystemExit(f"{len(finds)} finds" if finds else 0)


main()
