"""The command `openai-runs batch work`."""

import signal
from collections.abc import AsyncIterator

import anyio

from openai_runs.cli.batch_output import REFUSED
from openai_runs.cli.durable_options import AtOnce, Create, Store, check_at_once
from openai_runs.cli.endpoint_option import BaseUrl
from openai_runs.cli.log_options import Format, Level, LogFormat, LogLevel, set_up_logging
from openai_runs.cli.terminal import errors, refuse, run
from openai_runs.cli.toolbox_option import Tools, load_toolbox
from openai_runs.cli.work_options import OUTAGE, Deadline, Outage, Rpm, Tpm, Work, Workers
from openai_runs.errors import OpenAIRunsError
from openai_runs.session import Session


def work_on_jobs(
    store: Store,
    create: Create = False,
    base_url: BaseUrl = None,
    tools: Tools = None,
    workers: Workers = 8,
    at_once: AtOnce = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    deadline: Deadline = None,
    outage: Outage = OUTAGE,
    log_level: Level = LogLevel.INFO,
    log_format: Format = LogFormat.TEXT,
) -> None:
    """Run the jobs of all durable batches in a store, until it is stopped: a worker.

    Ctrl-C lets the runs in progress end, and starts no others; a second one, or SIGTERM, leaves them to whoever works
    on the store next. Each option can also be given as an environment variable. --at-once, --rpm and --tpm are of all
    processes that work on the store: those of the worker that was started last hold, and what it does not give is not
    limited.

    The exit code is 0 if a signal has stopped it, and 2 if it could not start.
    """
    check_at_once(workers, at_once)
    toolbox = None if tools is None else load_toolbox(tools)
    set_up_logging(log_level, log_format)
    options = Work(
        toolbox=toolbox, workers=workers, at_once=at_once, rpm=rpm, tpm=tpm, deadline=deadline, outage=outage
    )
    run(_work(store, create, base_url, options), refused=REFUSED)


async def _work(store: str, create: bool, base_url: str | None, options: Work) -> None:
    from openai_runs.batch.durable import work

    draining = anyio.Event()
    failure: Exception | None = None
    async with Session(base_url) as session:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_stop_on_signals, signals, draining, tasks.cancel_scope)
                errors.print("working; Ctrl-C stops")
                try:
                    await work(store, session, create=create, draining=draining, **options.durable())
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
