"""The command `openai-runs vacuum`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from openai_runs._postgres import is_postgres
from openai_runs.cli.config_option import ServerConfig
from openai_runs.cli.json_option import print_json
from openai_runs.cli.store_options import StoppedStore, check_exists, operator_file
from openai_runs.cli.terminal import console, errors, refuse, run


def vacuum(
    config: ServerConfig = None,  # noqa: ARG001  # its callback has read the file
    store: StoppedStore = "runs.db",
    as_json: Annotated[bool, typer.Option("--json", help="Print the sizes as a JSON object for each file.")] = False,
) -> None:
    """Give the space of what was deleted back to the file system: from a stopped server's file, and from its index.

    The file is written anew, which takes as much space again meanwhile. A server needs no vacuum: it uses the space.
    """
    if is_postgres(store):
        raise typer.BadParameter(
            "PostgreSQL does this itself: its autovacuum makes the space of what was deleted usable again. To give it "
            "back to the file system, run VACUUM (FULL, ANALYZE) openai_runs_objects in psql; the server waits for it"
        )
    check_exists(Path(store))
    run(_vacuum(Path(store), as_json))


async def _vacuum(store: Path, as_json: bool) -> None:
    from openai_runs.server.operator_client import reaching
    from openai_runs.stores.vacuum import vacuum_store

    async with reaching(operator_file(store)) as server:
        if server is not None:
            refuse(f"a server has the store {store}: stop it first. It uses the space of what was deleted itself")
    columns = SpinnerColumn(), TextColumn("writing {task.description} anew"), TimeElapsedColumn()
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task(escape(str(store)), total=None)
        for result in await vacuum_store(store, lambda path: progress.update(task, description=escape(str(path)))):
            if as_json:
                print_json({"file": str(result.path), "bytes_before": result.before, "bytes_after": result.after})
            else:
                sizes = [size / 1e6 for size in (result.before, result.after, result.before - result.after)]
                text = "{:.1f} MB before, {:.1f} MB now, {:.1f} MB given back".format(*sizes)
                console.print(f"{escape(str(result.path))}: {text}")
