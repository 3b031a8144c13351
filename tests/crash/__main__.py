"""Kill the server again and again, and say what was found."""

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

import anyio
from rich.console import Console

from tests.crash.torture import Torture
from tests.postgres import postgres
from tests.serving import Server

parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
parser.add_argument("--kills", type=int, default=200)
parser.add_argument("--active", type=int, default=50)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--postgres", action="store_true", help="keep all in PostgreSQL, not in an SQLite file")
options = parser.parse_args()
console = Console()
with ExitStack() as stack, console.status("starting") as status:
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    store: str | Path = Path(folder) / "runs.db"
    if options.postgres:
        store = stack.enter_context(postgres()).url()
    server = Server(store, ["--files-folder", folder])
    torture = Torture(server, options.kills, options.active, options.seed, status.update)
    anyio.run(torture.run)
console.print(f"{options.kills} kills under {options.active} active runs: {dict(torture.ended)}")
console.print(*torture.faults[:20], sep="\n")
if set(torture.ended) != {"completed"} or torture.ended.total() < options.active:
    torture.faults.append("not all runs completed")
raise SystemExit(f"{len(torture.faults)} faults" if torture.faults else 0)
