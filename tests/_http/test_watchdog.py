"""One timer for all requests; `test_transport.py` and `test_overrides.py` see requests end for which nothing comes."""

import asyncio
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from openai_runs._http.watchdog import Watchdog
from tests.samples import EXAMPLES
from tests.stub import NEVER, Stub, reply

pytestmark = pytest.mark.anyio

RUN = (EXAMPLES / "objects/RunObject.json").read_bytes()


class Protocol:
    """What aiohttp's has to do with timers."""

    def __init__(self, read_timeout: float | None) -> None:
        self.read_timeout = read_timeout
        self.started: list[float | None] = []

    def start_timeout(self) -> None:
        self.started.append(self.read_timeout)


def request(dog: Watchdog, limit: float | None) -> tuple[Any, Protocol]:
    """A request that was just sent."""
    protocol = Protocol(limit)
    connection: Any = SimpleNamespace(protocol=protocol)
    dog.watch(connection, protocol)  # type: ignore[arg-type]  # as much of aiohttp's as is used
    return connection, protocol


async def test_what_takes_long_gets_a_timer_of_its_own() -> None:
    """aiohttp's, with the limit of the session; a request that is over, or whose connection has another, has none."""
    dog = Watchdog(60.0)
    (_, slow), (over, quick), (again, used) = (request(dog, 60.0) for _ in range(3))
    over.protocol = None
    again.protocol = Protocol(None)
    assert slow.read_timeout is None
    dog._hand_over()
    assert (slow.started, quick.started, used.started) == ([60.0], [], [])
    dog._hand_over()
    assert slow.started == [60.0]
    dog.end()


@pytest.mark.parametrize("limit", [1.5, None])
async def test_a_limit_of_its_own(limit: float | None) -> None:
    """A request with another limit, or with none, has aiohttp's timer from the beginning."""
    dog = Watchdog(60.0)
    _, protocol = request(dog, limit)
    assert protocol.started == [limit]
    assert dog._timer is None


@pytest.mark.parametrize(("seconds", "delay"), [(60.0, 1.0), (8.0, 0.5)])
async def test_one_timer(seconds: float, delay: float) -> None:
    """However many requests there are; it is late by a sixteenth, and by a second at most."""
    dog, loop = Watchdog(seconds), asyncio.get_running_loop()
    now = loop.time()
    request(dog, seconds)
    timer = dog._timer
    request(dog, seconds)
    assert timer is dog._timer is not None
    assert timer.when() - now >= delay
    assert timer.when() - loop.time() <= delay
    dog.end()
    assert timer.cancelled()
    assert dog._timer is None
    assert not dog._under_way


async def test_no_timer_without_requests() -> None:
    """It is gone once it has fired, and the next request starts it again."""
    dog = Watchdog(60.0)
    request(dog, 60.0)
    dog._hand_over()
    assert dog._timer is None
    request(dog, 60.0)
    assert dog._timer is not None
    dog.end()
    dog.end()  # of no effect


async def test_a_session_leaves_no_timer() -> None:
    """Neither when it is closed after its requests, nor while one is in progress."""
    async with Stub(reply(RUN), NEVER) as stub:
        async with stub.session() as session, anyio.create_task_group() as tasks:
            dog = session._transport._sender._connections._watchdog  # type: ignore[union-attr]  # it is open
            await session.runs.retrieve(thread_id="thread_1", run_id="run_1")
            assert dog._timer is not None
            tasks.start_soon(session.threads.retrieve, "thread_1")
            await stub.requested(2)
            tasks.cancel_scope.cancel()
        assert dog._timer is None
        assert not dog._under_way
