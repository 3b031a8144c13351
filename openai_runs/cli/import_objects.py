"""The command `openai-runs import`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import Progress

from openai_runs.cli.config_option import ServerConfig
from openai_runs.cli.store_options import (
    DEFAULT_FILES_FOLDER,
    FilesFolder,
    Owner,
    StoppedStore,
    make_store,
)
from openai_runs.cli.terminal import console, errors, run

if TYPE_CHECKING:
    from openai_runs.stores.postgres import PostgresStore
    from openai_runs.stores.sqlite import SQLiteStore


def import_(
    files: Annotated[
        list[Path], typer.Argument(help="Files of JSON or JSON lines with the API's objects, or lists of them.")
    ],
    config: ServerConfig = None,  # noqa: ARG001  # its callback has read the file
    store: StoppedStore = "runs.db",
    files_folder: FilesFolder = DEFAULT_FILES_FOLDER,
    owner: Owner = "",
) -> None:
    """Import saved objects into a store, with their IDs and times: all that the export writes.

    Objects that the store has already are not changed, so importing twice is safe. Unfinished runs become expired,
    because nothing would finish them; files in vector stores are read again. Lines that cannot be read are listed, and
    the others are imported.
    """
    kept = make_store(store, files_folder)
    if missing := [str(file) for file in files if not file.is_file()]:
        raise typer.BadParameter(f"there is no file {', '.join(missing)}")
    run(_import(files, kept, owner))


async def _import(files: list[Path], kept: "SQLiteStore | PostgresStore", owner: str) -> None:
    from openai_runs.stores.import_export import ImportReport, import_objects, parse

    report = ImportReport()
    objects = [item for file in files for item in parse(str(file), file.read_bytes(), report)]
    if objects or not report.problems:  # of files that cannot be read, no store is made
        async with kept as store:
            with Progress(console=console, transient=True) as progress:
                task = progress.add_task("importing", total=len(objects))
                async for processed in import_objects(store, objects, report, owner=owner):
                    progress.advance(task, processed)
    for problem in report.problems:
        errors.print(f"[red]{escape(problem)}[/]")
    console.print(f"added: {', '.join(f'{count} {what}' for what, count in report.added.items())}")
    console.print(f"there already: {report.already_present}; unfinished runs, now expired: {report.ended}")
    if report.created_threads:
        console.print(f"threads that were not in the files, made for the objects in them: {report.created_threads}")
    if report.problems:
        raise typer.Exit(1)
