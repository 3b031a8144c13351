"""Lifecycles over a faulty network keep their promises; ``nox -s chaos`` lives thousands."""

from collections.abc import AsyncIterator

import pytest

from openai_runs.errors import OpenAIRunsError
from openai_runs.session import Session
from tests.chaos.lifecycles import World, live, world
from tests.chaos.verdicts import SOUND
from tests.proxy import Fate, Instead, Proxy, Unframed
from tests.stub import Reply, error, reply
from tests.weather import QUICK

pytestmark = [pytest.mark.anyio, pytest.mark.unmeasured]

#: A job that calls a tool and completes.
JOB = "a job 0"


async def test_sixty_lifecycles() -> None:
    """One run a job, each tool called once, texts whole, deadlines kept, and no end that is not the server's."""
    lived = await live(f"ci-{number}" for number in range(60))
    assert not lived.defects
    assert lived.outcomes[SOUND[0]] >= 40
    assert len(lived.faults) >= 10  # of two dozen kinds


async def test_forty_patient_lifecycles() -> None:
    """Whoever sets no deadline and allows retries enough hears of no fault, where the endpoint honours keys."""
    lived = await live((f"patient-{number}" for number in range(40)), is_patient=True)
    assert not lived.defects
    assert len(lived.faults) >= 10
    assert not lived.raises


@pytest.fixture
async def one_world() -> AsyncIterator[World]:
    async with world() as one_world:
        yield one_world


@pytest.fixture
async def proxy(one_world: World) -> AsyncIterator[Proxy]:
    async with Proxy(one_world.server.url) as proxy:
        yield proxy


@pytest.fixture
async def session(proxy: Proxy) -> AsyncIterator[Session]:
    async with proxy.session() as session:
        yield session


@pytest.mark.usefixtures("keyless")
@pytest.mark.parametrize("fate", [error(500), reply(b"<html>", 502), reply(b"<html>"), reply(b'{"id": "run_')])
async def test_doubt_is_an_attribute(one_world: World, proxy: Proxy, session: Session, fate: Fate) -> None:
    """After an unusable response the error says, by attribute, that the run may exist; where keys are not honoured."""
    proxy.plan("POST", "/threads/runs", fate)
    with pytest.raises(OpenAIRunsError) as caught:
        await session.threads.create_and_run(assistant_id=one_world.assistant_id)
    assert caught.value.maybe_done


@pytest.mark.parametrize(
    "fate", [Instead(error(429)), Instead(error(503)), Instead(Reply(b"", "reset")), "lose request", "refuse", "stall"]
)
async def test_a_lost_request(one_world: World, proxy: Proxy, fate: Fate) -> None:
    """What did not reach the server is sent once more, and starts one run."""
    proxy.plan("POST", "/runs", fate)
    async with proxy.session(timeout=0.2, max_retries=10) as session:
        thread = await one_world.direct.threads.create(messages=[{"role": "user", "content": JOB}])
        await session.runs.create(thread.id, assistant_id=one_world.assistant_id)
    assert len([run async for run in one_world.direct.runs.list(thread.id)]) == 1


@pytest.mark.parametrize("fate", [Unframed(40), reply(b"<html>")])
async def test_an_unusable_poll(one_world: World, proxy: Proxy, session: Session, fate: Fate) -> None:
    """One body that is cut off, or a proxy's page, is an outage of the endpoint like any other."""
    thread = await one_world.direct.threads.create(messages=[{"role": "user", "content": JOB}])
    run = await one_world.direct.runs.create(thread.id, assistant_id=one_world.assistant_id)
    proxy.plan("GET", run.id, fate)
    await session.runs.complete(run, toolbox=one_world.tools.toolbox(), polling=QUICK)


async def test_a_late_request(one_world: World, proxy: Proxy, session: Session) -> None:
    """A first attempt that arrives after the run of the second has ended starts no other run."""
    thread = await one_world.direct.threads.create(messages=[{"role": "user", "content": JOB}])
    proxy.plan("POST", "/runs", "very late")
    run = await session.runs.create(thread.id, assistant_id=one_world.assistant_id)
    await one_world.direct.runs.cancel(run)
    async for _ in one_world.direct.runs.follow(run, polling=QUICK):
        pass
    await proxy.heal()
    assert [run.id async for run in one_world.direct.runs.list(thread.id)] == [run.id]


async def test_a_late_request_without_keys(one_world: World) -> None:
    """The exception to it: where keys are not honoured, nothing keeps such a request from starting a run."""
    thread = await one_world.direct.threads.create(messages=[{"role": "user", "content": JOB}])
    async with Proxy(one_world.server.url, honours_keys=False) as proxy, proxy.session() as session:
        proxy.plan("POST", "/runs", "very late")
        run = await session.runs.create(thread.id, assistant_id=one_world.assistant_id)
        await one_world.direct.runs.cancel(run)
        async for _ in one_world.direct.runs.follow(run, polling=QUICK):
            pass
        await proxy.heal()
    assert len([run async for run in one_world.direct.runs.list(thread.id)]) == 2


async def test_by_hand(one_world: World, session: Session) -> None:
    """on_exit="cancel" is about errors, deadlines and cancellation: a stream that ends to be continued does not."""
    thread = await one_world.direct.threads.create(messages=[{"role": "user", "content": JOB}])
    options = {"assistant_id": one_world.assistant_id, "on_exit": "cancel", "polling": QUICK}
    async with session.runs.stream(thread.id, **options) as events:
        *_, asked = [event async for event in events]
    assert asked.status == "requires_action"
    assert (await one_world.direct.runs.retrieve(asked.run)).status == "requires_action"
