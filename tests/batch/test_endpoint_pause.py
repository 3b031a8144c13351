"""`EndpointPause`: while the endpoint is away, one request at a time asks whether it is back, and all others wait."""

import asyncio
from collections import Counter
from functools import partial
from typing import Any

import anyio
import pytest

from openai_runs import Polling, Session
from openai_runs.batch.endpoint_pause import EndpointPause, comes_back
from openai_runs.errors import ServerError, TransportError
from tests.stub import Reply, Request, Stub, error, reply

pytestmark = pytest.mark.anyio

PATIENT = Polling(first=0.001, longest=0.001, outage=50)
HASTY = Polling(first=0.001, longest=0.001, outage=0.05)
THREAD = {"id": "thread_1", "object": "thread", "created_at": 1}
NONE = {"object": "list", "data": [], "has_more": False}


class Endpoint:
    """Away until it was asked so often whether it is back."""

    def __init__(self, looks: float) -> None:
        self.looks = looks
        self.asked: Counter[str] = Counter()
        self.is_asked = asyncio.Event()

    def __call__(self, request: Request) -> Reply:
        name = request.path.rpartition("/")[2]
        self.asked[name] += 1
        if name == "assistants":
            self.is_asked.set()
            self.looks -= 1
        if self.looks > 0:
            return error(503)
        return reply(NONE if name == "assistants" else THREAD)


def pausing(session: Session, polling: Polling = PATIENT) -> EndpointPause:
    return EndpointPause(session, polling, "nothing is begun")


async def fetch(pause: EndpointPause, session: Session, id: str) -> Any:
    return await pause.through(partial(session.threads.retrieve, id), "a test")


async def test_one_asks_for_all() -> None:
    """Each request that found the endpoint away is repeated once, and one that comes meanwhile is sent once."""
    endpoint = Endpoint(20)
    async with Stub(endpoint) as stub, stub.session(max_retries=0) as session:
        pause = pausing(session)
        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(fetch, pause, session, f"thread_{number}")
            await endpoint.is_asked.wait()
            tasks.start_soon(fetch, pause, session, "late")
            await pause.wait()
            assert endpoint.looks <= 0
    assert endpoint.asked == {"assistants": 20, "late": 1, **{f"thread_{number}": 2 for number in range(8)}}


async def test_longer_than_the_patience() -> None:
    """Then all that wait fail, and whoever comes later begins a pause of its own."""
    endpoint = Endpoint(10**9)
    async with Stub(endpoint) as stub, stub.session(max_retries=0) as session:
        pause = pausing(session, HASTY)
        for _ in range(2):
            failed = await asyncio.gather(
                *(fetch(pause, session, f"thread_{number}") for number in range(3)), return_exceptions=True
            )
            assert [type(each) for each in failed] == [ServerError] * 3
            assert all("Given up" in each.__notes__[-1] for each in failed)
    assert [endpoint.asked[f"thread_{number}"] for number in range(3)] == [2, 2, 2]


async def test_only_one_request_is_refused() -> None:
    """A gateway that refuses one request is borne no longer than another one, and the others go on."""

    def answer(request: Request) -> Reply:
        if request.path.endswith("/bad"):
            return error(502)
        return reply(NONE if request.path.endswith("/assistants") else THREAD)

    async with Stub(answer) as stub, stub.session(max_retries=0) as session:
        pause = pausing(session, HASTY)
        with pytest.raises(ServerError):
            await fetch(pause, session, "bad")
        await fetch(pause, session, "good")
    assert len(stub.requests) > 3


async def test_without_patience() -> None:
    """Nobody asks, and nobody waits."""
    async with Stub(error(503)) as stub, stub.session(max_retries=0) as session:
        with pytest.raises(ServerError):
            await fetch(pausing(session, Polling(outage=0.0)), session, "thread_1")
    assert len(stub.requests) == 1


async def test_what_is_no_outage_of_the_endpoint() -> None:
    """A server that is there and fails is asked again, and nobody else waits for it."""
    async with Stub(error(500), reply(THREAD)) as stub, stub.session(max_retries=0) as session:
        assert (await fetch(pausing(session), session, "thread_1")).id == "thread_1"
    assert [request.path for request in stub.requests] == ["/v1/threads/thread_1"] * 2


async def test_who_asks_is_cancelled() -> None:
    """Another one asks in its place."""
    endpoint = Endpoint(10**9)
    async with Stub(endpoint) as stub, stub.session(max_retries=0) as session:
        pause = pausing(session)
        asking = asyncio.create_task(fetch(pause, session, "thread_1"))
        await endpoint.is_asked.wait()
        waiting = asyncio.create_task(fetch(pause, session, "thread_2"))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        endpoint.looks = 3
        assert (await waiting).id == "thread_1"
    assert endpoint.asked["thread_2"] == 2


async def test_the_callers_code_fails() -> None:
    """What an ``api_key`` function raises is raised by the request that is repeated, and not by the look."""
    keys = ["sk-1", LookupError("the first"), LookupError("the second")]

    async def api_key() -> str:
        key = keys.pop(0)
        if isinstance(key, Exception):
            raise key
        return key

    async with Stub(error(503)) as stub, stub.session(max_retries=0, api_key=api_key) as session:
        with pytest.raises(LookupError, match="the second"):
            await fetch(pausing(session), session, "thread_1")


@pytest.mark.parametrize(("answer", "is_back"), [(error(404), True), (error(503), False), (reply(NONE), True)])
async def test_whether_it_comes_back(answer: Reply, is_back: bool) -> None:
    """Whatever it says, it is back; nobody bears an outage for longer than there is patience."""
    async with Stub(lambda _: answer) as stub, stub.session(max_retries=0) as session:
        assert await comes_back(session, HASTY, "a test") is is_back


async def test_nobody_answers() -> None:
    """Connections that are refused are an outage, too."""
    async with Stub() as stub:
        session = stub.session(max_retries=0)
    async with session:
        assert not await comes_back(session, HASTY, "a test")
        with pytest.raises(TransportError):
            await fetch(pausing(session, HASTY), session, "thread_1")
