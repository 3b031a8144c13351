"""`work`: a worker that is lost begins anew, and works until it is cancelled or drained."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from openai_runs import Session
from openai_runs.batch.durable import DurableBatches, work
from openai_runs.errors import StoreUnavailableError, WorkerLostError

pytestmark = pytest.mark.anyio


async def test_beginning_anew(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """The options are those of `DurableBatches.open`, each time."""
    opened: list[dict[str, Any]] = []

    @asynccontextmanager
    async def open_batches(store: str, session: object, **options: Any) -> AsyncIterator[None]:
        opened.append({"store": store, **options})
        if len(opened) == 1:
            raise WorkerLostError("this worker stopped")
        scope.cancel()
        yield

    monkeypatch.setattr(DurableBatches, "open", open_batches)
    session: Any = None
    with anyio.CancelScope() as scope:
        await work("postgresql://db", session, workers=3, at_once=9)
    assert len(opened) == 2
    assert opened[0] == opened[1]
    assert (opened[0]["store"], opened[0]["workers"], opened[0]["at_once"]) == ("postgresql://db", 3, 9)
    assert "beginning anew: this worker stopped" in caplog.text


async def test_a_database_that_goes_away(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """One that has answered before is waited for, until the worker is to drain; one that never has is an error."""
    draining, opened = anyio.Event(), 0

    @asynccontextmanager
    async def open_batches(*_: object, **__: object) -> AsyncIterator[None]:
        nonlocal opened
        opened += 1
        if opened == 1:
            with anyio.CancelScope() as scope:
                scope.cancel()
                yield
            raise WorkerLostError("this worker stopped")
        if opened == 3:
            draining.set()
        raise StoreUnavailableError("it has not answered")

    monkeypatch.setattr(DurableBatches, "open", open_batches)
    session: Any = None
    await work("postgresql://db", session, draining=draining)
    assert opened == 3
    assert caplog.text.count("beginning anew: it has not answered") == 2
    with pytest.raises(StoreUnavailableError):
        await work("postgresql://db", session)


async def test_draining(store: Path, session: Session):
    """It returns, since nothing runs."""
    draining = anyio.Event()
    draining.set()
    await work(store, session, draining=draining)
