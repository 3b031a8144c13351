"""How many requests an owner may send, and what responses say about its limits."""

from pathlib import Path

import anyio
import pytest
from aiohttp import ClientSession

from openai_runs import Session
from openai_runs.backends import ScriptedBackend, Wait
from openai_runs.engine import ManualClock
from openai_runs.errors import RateLimitError
from openai_runs.pacing.rate_headers import read_allowance
from openai_runs.server import Limits, LocalServer
from openai_runs.server.gate import GATE
from openai_runs.stores.postgres import SharedPostgresStore
from tests.postgres import Postgres
from tests.server.api import Api, Response

pytestmark = pytest.mark.anyio

KEYS = {"sk-alice": "alice", "sk-alice-2": "alice", "sk-bob": "bob"}


def server(clock: ManualClock | None = None, *, script: object = None, **limits: int) -> LocalServer:
    return LocalServer(
        backend=ScriptedBackend(script),
        keys=KEYS,
        owner_limits={"alice": Limits(**limits)},
        clock=clock or ManualClock(),
    )


def limits_in(response: Response, what: str = "requests") -> list[str | None]:
    return [response.headers.get(f"x-ratelimit-{name}-{what}") for name in ("limit", "remaining", "reset")]


async def as_(api: Api, key: str, method: str = "GET", path: str = "/assistants", body: object = None) -> Response:
    return await api.send(method, path, body, headers={"Authorization": f"Bearer {key}"})


async def test_requests_a_minute():
    """A minute's worth may come at once; each further one waits for its part of a minute. An owner's keys share it."""
    clock = ManualClock()
    async with server(clock, requests_per_minute=6) as here, ClientSession() as http:
        api = Api(http, here.url)
        left = [limits_in(await as_(api, f"sk-alice{'-2' * (number % 2)}")) for number in range(6)]
        assert left == [["6", str(5 - number), shown] for number, shown in enumerate(SHOWN)]
        refused = await as_(api, "sk-alice")
        assert (refused.status, refused.error["code"], refused.error["type"], refused.error["param"]) == (
            429,
            "requests_per_minute_exceeded",
            "requests",
            None,
        )
        assert refused.error["message"] == (
            "Rate limit reached: you may send 6 requests a minute, and have used all of them. Please try again in 10s."
        )
        assert (refused.headers["Retry-After"], refused.headers["retry-after-ms"]) == ("10", "10000")
        assert limits_in(refused) == ["6", "0", "1m0s"]
        assert limits_in(await as_(api, "sk-bob")) == [None, None, None]
        clock.advance(5)
        refused = await as_(api, "sk-alice")
        assert (refused.headers["Retry-After"], limits_in(refused)) == ("5", ["6", "0", "55s"])
        clock.advance(5)
        assert limits_in(await as_(api, "sk-alice")) == ["6", "0", "1m0s"]
        clock.advance(-3600)  # somebody has set the clock back
        assert (await as_(api, "sk-alice")).status == 429
        clock.advance(60)
        assert limits_in(await as_(api, "sk-alice")) == ["6", "5", "10s"]


SHOWN = ("10s", "20s", "30s", "40s", "50s", "1m0s")


async def exchanged(*servers: LocalServer) -> None:
    """Have servers tell each other what they know now."""
    for server in servers * 2:
        lease = server.engine._ledger.store._lease
        read_at = lease._use._read_at
        with anyio.fail_after(20):
            while lease._use._read_at == read_at:
                lease.check_now()
                await anyio.sleep(0.01)


async def test_requests_at_several_servers(postgres_server: Postgres, tmp_path: Path):
    """They count together: what was too much in a second is made up for, and a server that starts knows of it."""
    clock, url = ManualClock(), postgres_server.store_url()

    def replica() -> LocalServer:
        store = SharedPostgresStore(url, folder=tmp_path)
        return LocalServer(store=store, keys=KEYS, owner_limits={"alice": Limits(requests_per_minute=6)}, clock=clock)

    async def left(server: LocalServer, key: str = "sk-alice") -> tuple[int, str | None]:
        response = await as_(Api(http, server.url), key)
        return response.status, limits_in(response)[1]

    async with ClientSession() as http, replica() as a, replica() as b:
        assert [await left(a) for _ in range(4)] == [(200, str(number)) for number in (5, 4, 3, 2)]
        await left(a, "sk-bob")
        await exchanged(a, b)
        assert [await left(b) for _ in range(3)] == [(200, "1"), (200, "0"), (429, "0")]
        assert await left(a) == (200, "1")  # in the same second
        assert await left(a) == (200, "0")
        await exchanged(a, b)
        gate = a._app[GATE]
        assert gate.requests("alice", 6) == 8
        clock.advance(28)
        assert await left(a) == await left(b) == (429, "0")
        clock.advance(3)
        assert await left(a) == (200, "0")
        async with replica() as late:
            await exchanged(a)
            assert await left(late) == (429, "0")
            clock.advance(3600)
            assert await left(late) == (200, "5")
    async with ClientSession() as http, replica() as c:
        assert await left(c) == (200, "4")  # what was told an hour ago has long been got back


async def test_a_wrong_key_has_no_limit():
    """Who is nobody's is told so, and uses up nothing."""
    async with server(requests_per_minute=1) as here, ClientSession() as http:
        response = await as_(Api(http, here.url), "sk-eve")
        assert (response.status, limits_in(response)) == (401, [None, None, None])
        assert (await as_(Api(http, here.url), "sk-alice")).status == 200


async def test_polls_and_errors_count_once():
    """Also those that are answered in front of the application, and those that it takes over because of an error."""
    async with server(requests_per_minute=100, script=[Wait()]) as here, ClientSession() as http:
        api = Api(http, here.url)
        assistant = (await as_(api, "sk-alice", "POST", "/assistants", {"model": "m"})).body
        run = (await as_(api, "sk-alice", "POST", "/threads/runs", {"assistant_id": assistant["id"]})).body
        path = f"/threads/{run['thread_id']}/runs/{run['id']}"
        assert limits_in(await as_(api, "sk-alice", "GET", path))[1] == "97"
        missing = await as_(api, "sk-alice", "GET", f"/threads/{run['thread_id']}/runs/run_none")
        assert (missing.status, limits_in(missing)[1]) == (404, "96")
        assert limits_in(await as_(api, "sk-alice", "GET", "/threads/thread_none"))[1] == "95"
        assert limits_in(await as_(api, "sk-bob", "GET", path)) == [None, None, None]


async def test_a_refused_poll():
    """It says so like any other request."""
    async with server(requests_per_minute=1) as here, ClientSession() as http:
        answers = [await as_(Api(http, here.url), "sk-alice", "GET", "/threads/t/runs/r") for _ in range(2)]
        assert [answer.status for answer in answers] == [404, 429]
        assert answers[1].headers["Retry-After"] == "60"


async def test_streams_have_the_headers():
    """A stream's response has them at its beginning."""
    async with server(requests_per_minute=10) as here, ClientSession() as http:
        api = Api(http, here.url)
        assistant = (await as_(api, "sk-alice", "POST", "/assistants", {"model": "m"})).body
        body = {"assistant_id": assistant["id"], "stream": True}
        headers = {"Authorization": "Bearer sk-alice"}
        async with http.post(f"{here.url}/threads/runs", json=body, headers=headers) as response:
            assert response.headers["x-ratelimit-remaining-requests"] == "8"
            await response.read()


async def test_tokens_a_day():
    """What is left of them is in every response, until it is up to midnight to bring new ones."""
    async with server(tokens_per_day=1) as here, ClientSession() as http:
        api = Api(http, here.url)
        first = await as_(api, "sk-alice", "POST", "/assistants", {"model": "m"})
        assert (limits_in(first, "tokens"), limits_in(first)) == (["1", "1", "16h0m0s"], [None, None, None])
        body = {"assistant_id": first.body["id"]}
        run = (await as_(api, "sk-alice", "POST", "/threads/runs", body)).body
        while True:
            answer = await as_(api, "sk-alice", "GET", f"/threads/{run['thread_id']}/runs/{run['id']}")
            if answer.body["status"] == "completed":
                break
        refused = await as_(api, "sk-alice", "POST", "/threads/runs", body)
        assert (refused.status, refused.error["code"]) == (429, "tokens_per_day_exceeded")
        assert refused.headers["Retry-After"] == str(16 * 3600)
        assert limits_in(refused, "tokens") == ["1", "0", "16h0m0s"]


async def test_a_client_reads_them():
    """A session of ours paces itself by these headers, and its error has what to do about a refusal."""
    async with server(requests_per_minute=1) as here:
        async with Session(here.url, "sk-alice") as session:
            await session.assistants.list().page()
        async with Session(here.url, "sk-alice", max_retries=0) as session:
            with pytest.raises(RateLimitError, match=r"Please try again in 1m0s") as caught:
                await session.assistants.list().page()
        allowance = read_allowance(caught.value.headers, "requests")
        assert (allowance.limit, allowance.remaining, allowance.window) == (1, 0, 60)


async def test_limits_without_keys():
    """All clients are one owner then, and share what all owners have."""
    async with LocalServer(limits=Limits(requests_per_minute=1)) as here, ClientSession() as http:
        api = Api(http, here.url)
        assert [(await api.send("GET", "/assistants")).status for _ in range(2)] == [200, 429]


async def test_limits_are_replaced():
    """With the keys, at once; without new ones they stay."""
    async with server(requests_per_minute=1) as here, ClientSession() as http:
        api = Api(http, here.url)
        assert [(await as_(api, "sk-alice")).status for _ in range(2)] == [200, 429]
        here.replace_keys(KEYS)
        assert (await as_(api, "sk-alice")).status == 429
        here.replace_keys(KEYS, owner_limits={"bob": Limits(requests_per_minute=1)})
        assert limits_in(await as_(api, "sk-alice")) == [None, None, None]
        assert [(await as_(api, "sk-bob")).status for _ in range(2)] == [200, 429]


async def test_refusals_are_counted():
    """By owner and code, those of limits only."""
    async with server(requests_per_minute=3, active_runs=1, script=[Wait()]) as here, ClientSession() as http:
        api = Api(http, here.url)
        assistant = (await as_(api, "sk-alice", "POST", "/assistants", {"model": "m"})).body
        body = {"assistant_id": assistant["id"]}
        answers = [await as_(api, "sk-alice", "POST", "/threads/runs", body) for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 429, 429, 429]
        assert answers[1].error["code"] == "active_runs_exceeded"
        assert answers[1].headers["Retry-After"] == "1"
        await as_(api, "sk-bob", "GET", "/threads/none")
        assert here._app[GATE].refused == {
            ("alice", "active_runs_exceeded"): 1,
            ("alice", "requests_per_minute_exceeded"): 2,
        }
