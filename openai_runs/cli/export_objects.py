"""The command `openai-runs export`."""

import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openai_runs.cli.config_option import ServerConfig
from openai_runs.cli.store_options import (
    DEFAULT_FILES_FOLDER,
    FilesFolder,
    Owner,
    UsedStore,
    make_store,
    operator_file_of,
)
from openai_runs.cli.terminal import run

if TYPE_CHECKING:
    from openai_runs.stores.postgres import PostgresStore
    from openai_runs.stores.sqlite import SQLiteStore


def export(
    config: ServerConfig = None,  # noqa: ARG001  # its callback has read the file
    store: UsedStore = "runs.db",
    files_folder: FilesFolder = DEFAULT_FILES_FOLDER,
    owner: Owner = "",
    output: Annotated[
        Path | None, typer.Option(help="The file to write. Unset: standard output.", dir_okay=False)
    ] = None,
) -> None:
    """Write an owner's objects as JSON lines, which `openai-runs import` reads. A server may have it meanwhile.

    Of a database, if the server shares it (--replica).
    """
    run(_export(make_store(store, files_folder, create=False, is_shared=True), owner, output))


@asynccontextmanager
async def _exporting(kept: "SQLiteStore | PostgresStore", owner: str) -> AsyncGenerator[AsyncIterator[bytes]]:
    """The lines: from the server, if one has the store, and else from the store itself."""
    from openai_runs.server.operator_client import reaching
    from openai_runs.stores.import_export import export_objects

    async with reaching(operator_file_of(kept)) as server:
        if server is not None:
            async with server.asking("GET", "export", params={"owner": owner}) as answer:
                yield answer.iter_any()
        else:
            async with kept as store, aclosing(export_objects(store, owner=owner)) as lines:
                yield lines


async def _export(kept: "SQLiteStore | PostgresStore", owner: str, output: Path | None) -> None:
    async with _exporting(kept, owner) as lines:
        first = await anext(lines, b"")  # before the file is opened: an error must not leave it empty
        with output.open("wb") if output is not None else nullcontext(sys.stdout.buffer) as file:
            file.write(first)
            async for line in lines:
                file.write(line)
            file.flush()
