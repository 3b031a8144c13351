"""`work`: a worker that is lost begins anew, and works until it is cancelled or drained."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from openai_runs import Session
from openai_runs.batch.durable import DurableBatches, work
from openai_runs.errors import WorkerLostError

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


async def test_draining(store: Path, session: Session):
    """It returns, since nothing runs."""
    draining = anyio.Event()
    draining.set()
    await work(store, session, draining=draining)
