"""The command `openai-runs batch submit`."""

from typing import Annotated

import typer
from rich.markup import escape

from openai_runs.batch.job_files import JobFile
from openai_runs.cli.batch_output import FAILED, REFUSED, STOPPED, BadLines
from openai_runs.cli.durable_options import BatchName, check_name, open_batches
from openai_runs.cli.job_options import Assistant, CompletionWindow, Jobs, Message, check_jobs, parse_message
from openai_runs.cli.terminal import console, run


def submit(
    jobs: Jobs,
    store: Annotated[
        str, typer.Argument(help="An SQLite file, created if it does not exist, or a URL with postgresql://.")
    ],
    assistant: Assistant = None,
    message: Message = None,
    completion_window: CompletionWindow = None,
    name: BatchName = None,
) -> None:
    """Add the jobs of a file to a store as a durable batch, for workers: see `openai-runs batch work`.

    Adding the same jobs again adds those that are missing. The exit code is 0 if all have been added, 1 if a line is no
    job, 2 if the batch was begun with other jobs or the store cannot be used, and 3 after Ctrl-C.
    """
    file = JobFile(
        path=jobs,
        assistant_id=assistant,
        template=parse_message(message),
        completion_window=None if completion_window is None else completion_window.value,
    )
    check_jobs(file)
    check_name(name, jobs)
    run(_submit(file, store, name or file.batch_name), refused=REFUSED, interrupted=STOPPED)


async def _submit(file: JobFile, store: str, name: str) -> None:
    bad_lines = BadLines()
    async with open_batches(store, create=True) as batches:
        batch = await batches.submit(file.read(bad_lines.add), name=name)
        progress = await batch.progress()
    bad_lines.print_repeated()
    console.print(f"{escape(name)}: {progress.added:,} jobs")
    if bad_lines.count:
        raise typer.Exit(FAILED)
