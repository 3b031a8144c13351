"""The command `openai-runs import`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import Progress

from openai_runs.cli.store_options import Owner, StoreFile, check_folder
from openai_runs.cli.terminal import console, errors, run


def import_(
    files: Annotated[
        list[Path], typer.Argument(help="Files of JSON or JSON lines with the API's objects, or lists of them.")
    ],
    store: StoreFile = Path("runs.db"),
    owner: Owner = "",
) -> None:
    """Import saved objects into a store, with their IDs and times: all that the export writes.

    Objects that the store has already are not changed, so importing twice is safe. Unfinished runs become expired,
    because nothing would finish them; files in vector stores are read again. Lines that cannot be read are listed, and
    the others are imported.
    """
    check_folder(store)
    if missing := [str(file) for file in files if not file.is_file()]:
        raise typer.BadParameter(f"there is no file {', '.join(missing)}")
    run(_import(files, store, owner))


async def _import(files: list[Path], path: Path, owner: str) -> None:
    from openai_runs.stores.import_export import ImportReport, import_objects, parse
    from openai_runs.stores.sqlite import SQLiteStore

    report = ImportReport()
    objects = [item for file in files for item in parse(str(file), file.read_bytes(), report)]
    async with SQLiteStore(path) as store:
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
