"""The command `openai-runs batch work`."""

import logging
import signal
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
import typer
from attrs import frozen

from openai_runs.cli.batch_output import REFUSED
from openai_runs.cli.durable_options import AtOnce, Create, Store, check_at_once
from openai_runs.cli.endpoint_option import BaseUrl
from openai_runs.cli.terminal import errors, refuse, run
from openai_runs.cli.toolbox_option import Tools, load_toolbox
from openai_runs.errors import OpenAIRunsError
from openai_runs.session import Session
from openai_runs.toolbox import Toolbox


@frozen(kw_only=True)
class _Options:
    toolbox: Toolbox | None
    workers: int
    at_once: int | None
    rpm: float | None
    tpm: float | None
    create: bool


def work_on_jobs(
    store: Store,
    create: Create = False,
    base_url: BaseUrl = None,
    tools: Tools = None,
    workers: Annotated[int, typer.Option(min=1, help="How many runs this process has in progress.")] = 8,
    at_once: AtOnce = None,
    rpm: Annotated[
        float | None,
        typer.Option(min=0.001, help="Runs that all processes together start in a minute. Unset: no limit."),
    ] = None,
    tpm: Annotated[
        float | None,
        typer.Option(min=0.001, help="Tokens that all processes together use in a minute. Unset: no limit."),
    ] = None,
) -> None:
    """Run the jobs of all durable batches in a store, until it is stopped: a worker.

    Ctrl-C lets the runs in progress end, and starts no others; a second one, or SIGTERM, leaves them to whoever works
    on the store next. Each option can also be given as an environment variable; the limits of the worker that was
    started last hold for all of the store.

    The exit code is 0 if a signal has stopped it, and 2 if it could not start.
    """
    check_at_once(workers, at_once)
    toolbox = None if tools is None else load_toolbox(tools)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("dbos").setLevel(logging.WARNING)
    options = _Options(toolbox=toolbox, workers=workers, at_once=at_once, rpm=rpm, tpm=tpm, create=create)
    run(_work(store, base_url, options), refused=REFUSED)


async def _work(store: str, base_url: str | None, options: _Options) -> None:
    from openai_runs.batch.durable import SharedLimits, work

    limits = SharedLimits(runs_per_minute=options.rpm, tokens_per_minute=options.tpm)
    draining = anyio.Event()
    failure: Exception | None = None
    async with Session(base_url) as session:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_stop_on_signals, signals, draining, tasks.cancel_scope)
                errors.print("working; Ctrl-C stops")
                try:
                    await work(
                        store,
                        session,
                        create=options.create,
                        toolbox=options.toolbox,
                        workers=options.workers,
                        at_once=options.at_once,
                        limits=limits,
                        draining=draining,
                    )
                except (OpenAIRunsError, OSError, RuntimeError, ValueError) as error:
                    failure = error  # refused outside the task group, which would wrap it in an exception group
                tasks.cancel_scope.cancel()
    if failure is not None:
        refuse(str(failure), REFUSED)


async def _stop_on_signals(
    signals: AsyncIterator[signal.Signals], draining: anyio.Event, scope: anyio.CancelScope
) -> None:
    if await anext(signals) is signal.SIGINT:
        draining.set()
        errors.print("no more runs are started, and those in progress are waited for; Ctrl-C again leaves them")
        await anext(signals)
    errors.print("stopping; whoever works on the store next goes on")
    scope.cancel()
