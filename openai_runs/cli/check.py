"""The command `openai-runs check`."""

from pathlib import Path

import typer
from rich.markup import escape

from openai_runs._postgres import is_postgres
from openai_runs.cli.config_option import ServerConfig
from openai_runs.cli.store_options import StoppedStore, check_exists
from openai_runs.cli.terminal import console, errors, refuse, run


def check(
    config: ServerConfig = None,  # noqa: ARG001  # its callback has read the file
    store: StoppedStore = "runs.db",
) -> None:
    """Check the file of a stopped server for damage. The server itself does so only after a crash, and briefly."""
    if is_postgres(store):
        raise typer.BadParameter("a PostgreSQL database is checked by PostgreSQL's own program, pg_amcheck")
    check_exists(Path(store))
    run(_check(Path(store)))


async def _check(path: Path) -> None:
    from openai_runs.stores.sqlite import SQLiteStore

    async with SQLiteStore(path) as store:
        found = await store.check()
    for text in found:
        errors.print(f"[red]{escape(text)}[/]")
    if found:
        refuse(f"{path} is damaged: restore it from a backup, or export what can still be read")
    console.print(f"no damage found in {escape(str(path))}")
