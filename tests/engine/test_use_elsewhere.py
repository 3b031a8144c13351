"""`UseElsewhere`: limits hold over all servers that share a store."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from openai_runs.backends import ScriptedBackend
from openai_runs.engine import ApiError, Engine, ManualClock
from openai_runs.engine.limits import Limits, OwnerLimits
from openai_runs.engine.resources.files import Files
from openai_runs.engine.use_elsewhere import DAY
from openai_runs.models.run import RunStatus
from openai_runs.stores.postgres import SharedPostgresStore
from tests.engine.world import world
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

HI = {"role": "user", "content": "Hi"}


@pytest.fixture
def url(postgres_server: Postgres) -> str:
    return postgres_server.store_url()


def store_of(engine: Engine) -> SharedPostgresStore:
    store = engine._ledger.store
    assert isinstance(store, SharedPostgresStore)
    return store


@asynccontextmanager
async def engines(
    url: str, folder: Path, number: int = 2, *, clock: ManualClock | None = None, limits: Any = (), **options: Any
) -> AsyncIterator[list[Engine]]:
    """Their owner ``ann`` has limits."""
    clock = clock or ManualClock()
    async with AsyncExitStack() as stack:
        made = [
            Engine(
                store=SharedPostgresStore(url, folder=folder),
                backend=ScriptedBackend(),
                clock=clock,
                limits=OwnerLimits(by_owner={"ann": Limits(**dict(limits))}),
                **options,
            )
            for _ in range(number)
        ]
        yield [await stack.enter_async_context(engine) for engine in made]


async def until(condition: Any, *engines: Engine) -> None:
    """Wait for something that is told with the leases, which are renewed all the time meanwhile."""
    with anyio.fail_after(20):
        while not condition():
            for engine in engines:
                store_of(engine)._lease.check_now()
            await anyio.sleep(0.01)


async def completed(engine: Engine, owner: str = "ann") -> int:
    """Have a run made, and return its tokens."""
    assistant = await engine.assistants.create(owner, {"model": "m"})
    body = {"assistant_id": assistant.id, "thread": {"messages": [HI]}}
    run = await engine.threads.create_and_run(owner, body)
    with anyio.fail_after(20):
        while run.status is not RunStatus.COMPLETED:
            await anyio.sleep(0.01)
            run = await engine.runs.retrieve(owner, run.thread_id, run.id)
    assert run.usage is not None
    return run.usage.prompt_tokens + run.usage.completion_tokens


async def upload(engine: Engine, size: int, owner: str = "ann") -> str:
    async with engine.files.uploading(owner) as upload:
        await upload.write(b"x" * size)
        return (await engine.files.create(owner, {"purpose": "assistants"}, "a.txt", upload)).id


async def refused(code: str, operation: Any) -> None:
    with pytest.raises(ApiError) as caught:
        await operation
    assert caught.value.code == code


async def test_tokens_of_a_day(url: str, tmp_path: Path):
    """What one server's runs have used counts at the others, and at whoever starts later, that day."""
    limits = {"tokens_per_day": 10**6}
    async with engines(url, tmp_path, limits=limits) as [a, b]:
        first = await completed(a)
        await until(lambda: store_of(b).use_elsewhere("tokens", "ann"), a, b)
        assert await b.use.tokens("ann") == first
        second, _ = await completed(a), await completed(a, "bob")
        await until(lambda: b.use.tokens_at_hand("ann") == first + second, a, b)
        third = await completed(b)
        await until(lambda: a.use.tokens_at_hand("ann") == first + second + third, a, b)
        async with engines(url, tmp_path, 1, clock=a.clock, limits=limits) as [late]:
            assert await late.use.tokens("ann") == first + second + third
        assert store_of(a).use_elsewhere("tokens", "bob") == store_of(b).use_elsewhere("tokens", "bob") == {}
        a.clock.advance(DAY)
        assert await b.use.tokens("ann") == 0


async def test_tokens_of_another_day(url: str, tmp_path: Path):
    """They do not count on this one, nor where nobody has asked yet."""
    async with engines(url, tmp_path, 1, limits={"tokens_per_day": 10**6}) as [a]:
        a.use.elsewhere.used_elsewhere("tokens", "ann", a.use.day, 5)
        assert a.use.tokens_at_hand("ann") is None
        assert await a.use.tokens("ann") == 0
        a.use.elsewhere.used_elsewhere("tokens", "ann", a.use.day - DAY, 5)
        a.use.elsewhere.used_elsewhere("what a later version counts", "ann", a.use.day, 5)
        assert a.use.tokens_at_hand("ann") == 0


async def test_tokens_that_are_told_while_others_are_read(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """They are not lost."""
    async with engines(url, tmp_path, 1, limits={"tokens_per_day": 10**6}) as [a]:
        first, page = await completed(a), SharedPostgresStore.page

        async def telling(*arguments: Any, **options: Any) -> Any:
            a.use.elsewhere.used_elsewhere("tokens", "ann", a.use.day, 5)
            return await page(*arguments, **options)

        a.use._tokens.clear()
        monkeypatch.setattr(SharedPostgresStore, "page", telling)
        assert await a.use.tokens("ann") == first + 5 * 2  # pages of runs, and of threads that were deleted


async def test_files(url: str, tmp_path: Path):
    """What an owner uploads at one server, also what is under way there, counts at the others; so does a deletion."""
    async with engines(url, tmp_path, max_owner_bytes=100) as [a, b]:
        file_id = await upload(a, 60)
        await until(lambda: b.files.used("ann") == 60, a, b)
        await refused("storage_quota_exceeded", upload(b, 41))
        async with b.files.uploading("ann") as under_way:
            await under_way.write(b"x" * 30)
            await until(lambda: a.files.used("ann") == 90, a, b)
            await refused("storage_quota_exceeded", upload(a, 11))
        await until(lambda: a.files.used("ann") == 60, a, b)
        await b.files.delete("ann", file_id)
        await until(lambda: a.files.used("ann") == 0, a, b)
        await upload(a, 100)
        async with engines(url, tmp_path, 1, clock=a.clock, max_owner_bytes=100) as [late]:
            assert late.files.used("ann") == 100


async def test_files_that_are_told_while_all_are_counted(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """They are not lost."""
    async with engines(url, tmp_path, 1) as [a]:
        await upload(a, 10)
        count, everything = Files._count, SharedPostgresStore.everything

        async def telling(*arguments: Any) -> AsyncIterator[Any]:
            a.use.elsewhere.used_elsewhere("file_bytes", "ann", a.use.day, 5)
            async for record in everything(*arguments):
                yield record

        monkeypatch.setattr(SharedPostgresStore, "everything", telling)
        await count(a.files)
        assert a.files.used("ann") == 15


async def test_stored_bytes(url: str, tmp_path: Path):
    """What one server stores, or deletes, for an owner counts at the others."""
    long = {"role": "user", "content": "x" * 2_000}
    async with engines(url, tmp_path, limits={"stored_bytes": 5_000}) as [a, b]:
        thread = await b.threads.create("ann", {})
        before = await b.use.thread_bytes("ann", 0)
        await a.messages.create("ann", thread.id, long)
        await a.threads.create("bob", {"messages": [long]})
        await until(lambda: b.use._bytes["ann"].at_most > before + 2_000, a, b)
        await refused("storage_quota_exceeded", b.threads.create("ann", {"messages": [long, long]}))
        await a.threads.delete("ann", thread.id)
        await until(lambda: b.use._bytes["ann"].has_deleted, a, b)
        await b.threads.create("ann", {"messages": [long]})
        assert store_of(b).use_elsewhere("thread_bytes", "bob") == {}


async def test_one_server():
    """Nobody is told of anything."""
    async with world(limits=OwnerLimits(by_owner={"ann": Limits(tokens_per_day=100)})) as w:
        w.engine.use.elsewhere.tell("requests", "ann", 1)
        assert w.engine.use.elsewhere.before("requests", "ann") == {}
