"""The command `openai-runs batch results`."""

import sys
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from openai_runs.batch.result_files import open_results, result_line
from openai_runs.batch.saving import Saved
from openai_runs.cli.batch_output import FAILED, REFUSED, STOPPED, say_incomplete, summarize
from openai_runs.cli.durable_options import Name, Store, find_batch, open_batches
from openai_runs.cli.results_option import check_out
from openai_runs.cli.terminal import run

if TYPE_CHECKING:
    from openai_runs.batch.durable import DurableBatch


def results(
    store: Store,
    name: Name = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The file of results, to which those that it lacks are added. Unset: standard output."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all jobs have ended.")] = False,
) -> None:
    """Write the results of a durable batch, as JSON lines: those of the jobs that have ended.

    The only batch of a store needs no name.

    The exit code is 0 if all jobs have completed, 1 if all have ended and some have failed or were cancelled, and 3 if
    some have not ended; 2 if there is no such batch or store.
    """
    if out is not None:
        check_out(out)
    run(_results(store, name, out, wait), refused=REFUSED, interrupted=STOPPED)


async def _results(store: str, name: str | None, out: Path | None, wait: bool) -> None:
    until = anyio.Event()
    if not wait:
        until.set()
    async with open_batches(store) as batches:
        batch = await find_batch(batches, name, only=True)
        await (_print(batch, until) if out is None else _write(batch, out, until))
        progress = await batch.progress()
    if not progress.is_over:
        raise typer.Exit(STOPPED)
    if progress.completed < progress.added:
        raise typer.Exit(FAILED)


async def _print(batch: "DurableBatch", until: anyio.Event) -> None:
    from openai_runs.batch.durable.watching import keyed_results

    async with aclosing(keyed_results(batch, until=until)) as keyed:
        async for _, result in keyed:
            sys.stdout.buffer.write(result_line(result))
            sys.stdout.buffer.flush()


async def _write(batch: "DurableBatch", out: Path, until: anyio.Event) -> None:
    from openai_runs.batch.durable.watching import write_results

    saved = Saved()
    with open_results(out) as file:
        await write_results(batch, file, saved, until=until)
    progress = await batch.progress()
    summarize(saved, file, bad_lines=0, tokens=progress.tokens)
    if not progress.is_over:
        say_incomplete("some have not ended")
