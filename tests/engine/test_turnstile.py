"""The work of several owners is let through in turn, which is shown by count and not by time."""

import asyncio

import pytest
from aiohttp import ClientSession

from openai_runs.engine.turnstile import ROUNDS, Turnstile
from openai_runs.server import LocalServer
from openai_runs.server.gate import GATE
from tests.server.api import Api

pytestmark = pytest.mark.anyio


async def begin(turnstile: Turnstile, owner: str, begun: list[str]) -> None:
    if (begins := turnstile.enter(owner)) is not None:
        await begins
    begun.append(owner)


async def rounds(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_one_owner_begins_at_once():
    """Where nobody else is, nobody waits."""
    turnstile, begun = Turnstile(), []
    for _ in range(10):
        await begin(turnstile, "loud", begun)
    assert begun == ["loud"] * 10
    assert not turnstile._next


async def test_another_owner_does_not_wait_for_all():
    """Of a hundred pieces at once, one is let through in each round, and another owner's at once, at any time."""
    turnstile, begun = Turnstile(is_shared=True), []
    async with asyncio.TaskGroup() as tasks:
        for _ in range(100):
            tasks.create_task(begin(turnstile, "loud", begun))
        await rounds(1)
        assert begun == ["loud"]
        await rounds(10)
        assert 9 <= len(begun) <= 12
        assert turnstile.enter("quiet") is None
    assert begun == ["loud"] * 100
    await rounds(ROUNDS + 1)
    assert not turnstile._next
    assert not turnstile._waiting


async def test_while_there_is_another_owner():
    """One piece of each is let through in three rounds: in these, a request of the other one is answered."""
    turnstile, begun = Turnstile(is_shared=True), []
    async with asyncio.TaskGroup() as tasks:
        for _ in range(20):
            tasks.create_task(begin(turnstile, "loud", begun))
        for _ in range(6):
            tasks.create_task(begin(turnstile, "other", begun))
        await rounds(2)
        for _ in range(4):
            before = len(begun)
            await rounds(ROUNDS)
            assert sorted(begun[before:]) == ["loud", "other"]
    assert sorted(begun) == ["loud"] * 20 + ["other"] * 6


async def test_requests_in_their_order():
    """Those of one owner begin in the order in which they came, and each owner has a line of its own."""
    turnstile, begun = Turnstile(is_shared=True), []

    async def one(name: str) -> None:
        await begin(turnstile, name[0], [])
        begun.append(name)

    async with asyncio.TaskGroup() as tasks:
        for name in ("a1", "a2", "a3", "b1", "b2"):
            tasks.create_task(one(name))
    assert begun == ["a1", "b1", "a2", "b2", "a3"]


async def test_whoever_is_gone_takes_no_turn():
    """A request that was given up while it waited is passed over."""
    turnstile = Turnstile(is_shared=True)
    assert turnstile.enter("loud") is None
    gone, there, last = (turnstile.enter("loud") for _ in range(3))
    gone.cancel()
    await there
    last.cancel()
    await rounds(2 * ROUNDS)
    assert not turnstile._next
    assert turnstile.enter("loud") is None


async def test_a_server_of_several_owners():
    """It has their requests begin in turn, as long as there are several."""
    async with LocalServer(keys={"sk-a": "a", "sk-b": "b"}) as server, ClientSession() as http:
        turnstile = server._app[GATE].turnstile
        assert turnstile.is_shared
        assert server.engine.has_several_owners
        headers = {"Authorization": "Bearer sk-a"}
        api = Api(http, server.url)
        answers = await asyncio.gather(*(api.send("GET", "/assistants", headers=headers) for _ in range(20)))
        assert {answer.status for answer in answers} == {200}
        server.replace_keys({"sk-a": "a"})
        assert not turnstile.is_shared
        assert not server.engine.has_several_owners
    async with LocalServer() as server:
        assert not server._app[GATE].turnstile.is_shared
        assert not server.engine.has_several_owners
