"""The command `openai-runs backup`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import anyio
import typer
from rich.markup import escape
from rich.progress import Progress

from openai_runs._postgres import is_postgres
from openai_runs.cli.config_option import ServerConfig
from openai_runs.cli.json_option import print_json
from openai_runs.cli.store_options import UsedStore, check_exists, operator_file
from openai_runs.cli.terminal import console, errors, refuse, run

if TYPE_CHECKING:
    from openai_runs.server.operator_client import OperatorClient

_LOOK: Final = 0.25  # seconds between two looks how far it is


def backup(
    target: Annotated[Path, typer.Argument(help="The new file; what else there is comes beside it, as in the store.")],
    config: ServerConfig = None,  # noqa: ARG001  # its callback has read the file
    store: UsedStore = "runs.db",
    as_json: Annotated[bool, typer.Option("--json", help="Print what was copied as a JSON object.")] = False,
) -> None:
    """Copy a store in an SQLite file, with the contents of files and their index, while its server runs or not.

    The copy is the store as it is at the end, and is served like any other. A running server writes it itself, on its
    own machine.
    """
    if is_postgres(store):
        raise typer.BadParameter("a PostgreSQL database, which has the files, too, is backed up by pg_dump")
    check_exists(Path(store))
    run(_back_up(Path(store), target, as_json))


async def _back_up(store: Path, target: Path, as_json: bool) -> None:
    from openai_runs.server.operator_client import reaching

    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("backing up", total=None)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        async with reaching(operator_file(store)) as server:
            made = await (_copy(store, target, show) if server is None else _ask(server, target, show))
    if as_json:
        print_json({"target": str(target), **made})
        return
    index = ", and their index" if made["has_index"] else ""
    console.print(f"backed up to {escape(str(target))}, with the contents of {made['contents']} files{index}")


async def _copy(store: Path, target: Path, show: Callable[[int, int], None]) -> dict[str, Any]:
    """Copy a store that no server has."""
    from openai_runs.stores.backup import StoreBackup
    from openai_runs.stores.sqlite import SQLiteStore

    async with SQLiteStore(store) as kept:
        copying = StoreBackup(kept, target)

        async def look() -> None:
            while True:
                show(copying.done, copying.total)
                await anyio.sleep(_LOOK)

        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look)
            try:
                await copying.carry_out()
            except Exception as error:  # raised after the group, which would wrap it in an ExceptionGroup
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
    return copying.result


async def _ask(server: "OperatorClient", target: Path, show: Callable[[int, int], None]) -> dict[str, Any]:
    """Have the server copy the store that it has."""
    said: dict[str, Any] = {"error": "the server has ended before the backup had"}
    path = str(await anyio.Path(target).absolute())
    async with server.asking("POST", "backup", json={"target": path}) as lines:
        async for line in lines:
            said = json.loads(line)
            if "total" in said:
                show(said["done"], said["total"])
    if "contents" not in said:
        refuse(said.get("error", "the server has ended before the backup had"))
    return said
