"""Requests that create something at an endpoint are sent once for each idempotency key."""

from functools import partial
from typing import Any

import pytest

from openai_runs.engine import ApiError
from openai_runs.engine.endpoint_objects import FILE
from openai_runs.engine.idempotency import LIFETIME, IdempotencyKey
from openai_runs.models.assistant import Assistant
from openai_runs.stores.records import EndpointObject, UsedKey
from tests.engine.endpoint import Endpoint
from tests.engine.world import World, world

pytestmark = pytest.mark.anyio

KEY = IdempotencyKey("key", "")


async def create(w: World, id: str = "file-1", fingerprint: str = "body", key: IdempotencyKey | None = KEY) -> Any:
    """The ID, and whether it was created just now."""
    async with w.engine.endpoint_creations.begin("ann", key) as creation:
        if creation.used is not None:
            creation.check(fingerprint)
            return creation.used.object_id, False
        creation.check(fingerprint)
        await creation.created(FILE, id, fingerprint)
        return id, True


async def noted(w: World, kind: type[Any]) -> list[str]:
    return [record.value.id async for record in w.store.everything(kind)]


async def test_once():
    """A repetition finds what was created; one with another body is refused."""
    async with world(files_endpoint=Endpoint()) as w:
        assert await create(w) == ("file-1", True)
        assert await create(w, "file-2") == ("file-1", False)
        assert await noted(w, EndpointObject) == ["file-1"]
        assert await noted(w, UsedKey) == ["key"]
        with pytest.raises(ApiError, match="another request body"):
            await create(w, fingerprint="else")
        assert await create(w, "file-3", key=None) == ("file-3", True)


async def test_in_doubt():
    """Without an answer, the key is refused, until it is as old as keys get; after a refusal, it can be used again."""
    async with world(files_endpoint=Endpoint()) as w:
        creations = w.engine.endpoint_creations
        for key in KEY, None:
            async with creations.begin("ann", key) as creation:
                await creation.had_no_effect()
        async with creations.begin("ann", KEY):
            with pytest.raises(ApiError, match="under way"):
                await create(w)
        with pytest.raises(ApiError, match="answer got lost"):
            await create(w)
        w.clock.advance(LIFETIME + 60)
        await w.settle()
        assert await create(w) == ("file-1", True)


async def test_an_engine_that_has_its_own_files_again():
    """A key whose object is at an endpoint is answered with 404, and nothing is created with it."""
    async with world(files_endpoint=Endpoint()) as w:
        await create(w)
        store = w.store
    async with world(store=store) as w:
        made = partial(w.engine.assistants.create, "ann", {"model": "m"})
        with pytest.raises(ApiError, match="file-1") as refused:
            await w.engine.idempotency.once(IdempotencyKey("key", "body"), lambda key: made(key=key))
        assert refused.value.status == 404
        assert not await noted(w, Assistant)
