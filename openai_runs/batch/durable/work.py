"""`work`: a process that runs the jobs of a database, beside others."""

import logging
import os

import anyio

from openai_runs.batch.durable.batches import DurableBatches
from openai_runs.batch.durable.shared_limits import SharedLimits
from openai_runs.batch.repeating import JobRetries
from openai_runs.errors import StoreUnavailableError, WorkerLostError
from openai_runs.following.polling import Polling
from openai_runs.session import Session
from openai_runs.toolbox import Toolbox

_logger = logging.getLogger("openai_runs.batch")


async def work(
    store: str | os.PathLike[str],
    session: Session,
    *,
    create: bool = True,
    toolbox: Toolbox | None = None,
    workers: int = 8,
    at_once: int | None = None,
    limits: SharedLimits | None = None,
    retries: JobRetries = JobRetries(),
    fetch_messages: bool = True,
    polling: Polling = Polling(),
    draining: anyio.Event | None = None,
) -> None:
    """Run jobs until cancelled, whoever submits them. A worker that is lost to the others begins anew.

    Args:
        store: As for `DurableBatches.open`, like the other arguments; nearly always a URL of PostgreSQL.
        session: Where to run.
        create: Whether tables that are missing are created.
        toolbox: Answers tool calls. All workers of a database need the same tools.
        workers: How many jobs this process may run at once.
        at_once: How many jobs all processes may run at once.
        limits: How many runs and tokens a minute all processes together may use.
        retries: Which jobs are tried again, and when.
        fetch_messages: Whether to fetch the answer of each run, in one more request.
        polling: How often each run is polled.
        draining: Once it is set, no more jobs are begun, and this returns when those that run here have ended.

    Raises:
        MissingExtraError, ValueError, RuntimeError: As `DurableBatches.open`.
        StoreUnavailableError: The database has not answered at all. One that goes away later is waited for.
    """
    draining, has_worked = anyio.Event() if draining is None else draining, False
    while not (has_worked and draining.is_set()):
        try:
            async with DurableBatches.open(
                store,
                session,
                create=create,
                toolbox=toolbox,
                workers=workers,
                at_once=at_once,
                limits=limits,
                retries=retries,
                fetch_messages=fetch_messages,
                polling=polling,
            ) as batches:
                has_worked = True
                await draining.wait()
                await batches.drain()
                return
        except WorkerLostError as error:
            _logger.warning("beginning anew: %s", error)
        except StoreUnavailableError as error:
            if not has_worked:
                raise
            _logger.warning("beginning anew: %s", error)
