"""A worker: ``python -m openai_runs.batch.durable postgresql://… --tools module:toolbox``.

The endpoint and its key come from the environment, as for every `Session`. SIGTERM and Ctrl-C stop it; its runs go on,
and other workers take its jobs over at once.
"""

import argparse
import logging
import signal
from functools import partial
from importlib import import_module
from typing import Any

import anyio

from openai_runs.batch.durable.shared_limits import SharedLimits
from openai_runs.batch.durable.work import work
from openai_runs.session import Session
from openai_runs.toolbox import Toolbox


def load_toolbox(place: str) -> Toolbox:
    """The toolbox at a place such as ``package.module:name``.

    Raises:
        ImportError, AttributeError: There is nothing at that place.
        TypeError: It is no toolbox.
    """
    module, _, name = place.partition(":")
    toolbox = getattr(import_module(module), name)
    if not isinstance(toolbox, Toolbox):
        raise TypeError(f"{place} is no Toolbox: {toolbox!r}")
    return toolbox


async def run(store: str, **options: Any) -> None:
    """Work until a signal says to stop."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with anyio.create_task_group() as tasks, Session() as session:
            tasks.start_soon(lambda: work(store, session, **options))
            async for _ in signals:
                tasks.cancel_scope.cancel()
                break


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, and work."""
    parser = argparse.ArgumentParser(prog="python -m openai_runs.batch.durable", description=__doc__)
    parser.add_argument("store", help="a URL of PostgreSQL, or the path of an SQLite file")
    parser.add_argument("--tools", metavar="MODULE:NAME", help="a Toolbox, which answers tool calls")
    parser.add_argument("--workers", type=int, default=8, help="jobs that this process runs at once")
    parser.add_argument("--at-once", type=int, help="jobs that all processes together run at once")
    parser.add_argument("--rpm", type=float, help="runs that all processes together start in a minute")
    parser.add_argument("--tpm", type=float, help="tokens that all processes together use in a minute")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO)
    toolbox = None if options.tools is None else load_toolbox(options.tools)
    limits = SharedLimits(runs_per_minute=options.rpm, tokens_per_minute=options.tpm)
    program = partial(run, options.store, toolbox=toolbox, workers=options.workers, at_once=options.at_once)
    anyio.run(partial(program, limits=limits))


if __name__ == "__main__":
    main()
