"""`work`: a process that runs the jobs of a database, beside others."""

import logging
import os
from typing import Unpack

import anyio

from openai_runs.batch.durable.batches import DurableBatches
from openai_runs.batch.durable.options import WorkOptions
from openai_runs.errors import StoreUnavailableError, WorkerLostError
from openai_runs.session import Session

_logger = logging.getLogger("openai_runs.batch")


async def work(
    store: str | os.PathLike[str],
    session: Session,
    *,
    create: bool = True,
    draining: anyio.Event | None = None,
    **options: Unpack[WorkOptions],
) -> None:
    """Run jobs until cancelled, whoever submits them. A worker that is lost to the others begins anew.

    Args:
        store: As for `DurableBatches.open`; nearly always a URL of PostgreSQL.
        session: Where to run.
        create: Whether tables that are missing are created.
        draining: Once it is set, no more jobs are begun, and this returns when those that run here have ended.
        **options: How this process runs jobs; see `WorkOptions`.

    Raises:
        MissingExtraError, TypeError, ValueError, RuntimeError: As `DurableBatches.open`.
        StoreUnavailableError: The database has not answered at all. One that goes away later is waited for.
    """
    draining, has_worked = anyio.Event() if draining is None else draining, False
    while not (has_worked and draining.is_set()):
        try:
            async with DurableBatches.open(store, session, create=create, **options) as batches:
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
