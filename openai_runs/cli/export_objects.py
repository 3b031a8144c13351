"""The command `openai-runs export`."""

import sys
from contextlib import aclosing, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from openai_runs.cli.store_options import Owner, StoreFile, check_exists
from openai_runs.cli.terminal import run


def export(
    store: StoreFile = Path("runs.db"),
    owner: Owner = "",
    output: Annotated[
        Path | None, typer.Option(help="The file to write. Unset: standard output.", dir_okay=False)
    ] = None,
) -> None:
    """Write an owner's objects as JSON lines, which `openai-runs import` reads."""
    check_exists(store)
    run(_export(store, owner, output))


async def _export(path: Path, owner: str, output: Path | None) -> None:
    from openai_runs.stores.import_export import export_objects
    from openai_runs.stores.sqlite import SQLiteStore

    async with SQLiteStore(path) as store, aclosing(export_objects(store, owner=owner)) as lines:
        first = await anext(lines, b"")  # before the file is opened: an error must not leave it empty
        with output.open("wb") if output is not None else nullcontext(sys.stdout.buffer) as file:
            file.write(first)
            async for line in lines:
                file.write(line)
            file.flush()
