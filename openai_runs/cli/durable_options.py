"""The arguments and options of commands that use durable batches, and how they open the store."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from openai_runs.cli.batch_output import REFUSED
from openai_runs.cli.terminal import refuse

if TYPE_CHECKING:
    from openai_runs.batch.durable import DurableBatch, DurableBatches

#: Names of batches that are listed where one is missing.
_MOST_NAMES: Final = 20

Store: TypeAlias = Annotated[
    str, typer.Argument(help="The store of durable batches: an SQLite file, or a URL with postgresql://.")
]
Name: TypeAlias = Annotated[str | None, typer.Argument(help="The batch's name or ID, as `batch status` lists them.")]
Create: TypeAlias = Annotated[
    bool, typer.Option("--create", help="Create an SQLite file and tables that are missing. A database has to exist.")
]
AtOnce: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="How many runs all processes together have in progress. Unset: no limit.")
]
BatchName: TypeAlias = Annotated[
    str | None, typer.Option(help="The batch's name in the store. Unset: made of the file's path and --assistant.")
]


def check_name(name: str | None, jobs: Path) -> None:
    """Refuse jobs from a pipe without a name: its path is another one each time."""
    if name is None and not jobs.is_file():
        raise typer.BadParameter("a durable batch needs a --name for jobs from a pipe")


def check_at_once(workers: int, at_once: int | None) -> None:
    """Refuse a limit of all processes that one of them may exceed."""
    if at_once is not None and at_once < workers:
        raise typer.BadParameter(f"--at-once must be at least --workers: got {at_once} and {workers}")


@asynccontextmanager
async def open_batches(store: str, *, create: bool = False) -> AsyncGenerator["DurableBatches"]:
    """Open a store without running its jobs."""
    from openai_runs.batch.durable import DurableBatches

    async with DurableBatches.open(store, create=create) as batches:
        yield batches


async def find_batch(batches: "DurableBatches", name: str | None, *, only: bool = False) -> "DurableBatch":
    """The batch with a name or ID; one that does not exist is refused.

    Args:
        batches: The store.
        name: The name or ID, if one was given.
        only: Whether a store's only batch is taken without a name.
    """
    if name is None:
        found = await batches.list()
        if only and len(found) == 1:
            return found[0]
        if not found:
            refuse("the store has no batches", REFUSED)
        names = ", ".join(repr(batch.name or batch.id) for batch in found[:_MOST_NAMES])
        refuse(f"no batch is named; the store has {names}{', …' if len(found) > _MOST_NAMES else ''}", REFUSED)
    try:
        return await batches.find(name)
    except LookupError:
        refuse(f"there is no batch {name}; `openai-runs batch status STORE` lists them", REFUSED)
