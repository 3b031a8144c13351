"""Kill the server again and again, and say what was found."""

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

import anyio
from attrs import define
from rich.console import Console

from tests.crash.torture import Torture
from tests.postgres import Postgres, postgres
from tests.serving import Server


@define
class DatabaseOf:
    """The PostgreSQL of a server, to be killed so many times in place of the server, which has to bear it."""

    server: Server
    postgres: Postgres
    kills: int

    @property
    def url(self) -> str:
        return self.server.url

    def start(self) -> None:
        if self.server.process is None:
            self.server.start()
        else:
            self.postgres.start()

    def kill(self) -> None:
        self.kills -= 1
        if self.kills < 0:  # all is over
            self.server.kill()
        else:
            self.postgres.kill()


parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
parser.add_argument("--kills", type=int, default=200)
parser.add_argument("--active", type=int, default=50)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--postgres", action="store_true", help="keep all in PostgreSQL, not in an SQLite file")
parser.add_argument("--database", action="store_true", help="and kill that, not the server")
options = parser.parse_args()
console = Console()
with ExitStack() as stack, console.status("starting") as status:
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    server: Server | DatabaseOf = Server(Path(folder) / "runs.db")
    if options.postgres or options.database:
        database = stack.enter_context(postgres())
        server = Server(database.url(), ["--files-folder", folder])
        if options.database:
            server = DatabaseOf(server, database, options.kills)
    torture = Torture(server, options.kills, options.active, options.seed, status.update)
    anyio.run(torture.run)
console.print(f"{options.kills} kills under {options.active} active runs: {dict(torture.ended)}")
console.print(*torture.faults[:20], sep="\n")
if set(torture.ended) != {"completed"} or torture.ended.total() < options.active:
    torture.faults.append("not all runs completed")
raise SystemExit(f"{len(torture.faults)} faults" if torture.faults else 0)
