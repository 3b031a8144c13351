"""Requests that are answered in front of the application, and those that are left to it."""

from types import SimpleNamespace

import pytest
from aiohttp import ClientSession

from openai_runs.backends import ScriptedBackend
from openai_runs.backends.scripted import Wait
from openai_runs.engine import Engine
from openai_runs.engine.resources.runs import Runs
from openai_runs.server import LocalServer, PollHint, local
from openai_runs.server.front import answer_in_front
from openai_runs.stores import MemoryStore
from openai_runs.stores.sqlite import SQLiteStore
from openai_runs.telemetry import Telemetry
from tests.server.api import Api

pytestmark = pytest.mark.anyio

KEYS = {"sk-alice": "alice", "sk-bob": "bob"}
JOB = {"thread": {"messages": [{"role": "user", "content": "Hello!"}]}}


@pytest.fixture
def left(monkeypatch):
    """The paths of the requests that are left to the application."""
    paths = []

    def answer_and_note(runner, *arguments, **options):
        answer_in_front(runner, *arguments, **options)
        front = runner.server.request_handler
        others = front._others

        async def note(request):
            paths.append(request.raw_path)
            return await others(request)

        front._others = note

    monkeypatch.setattr(local, "answer_in_front", answer_and_note)
    return paths


async def new_run(api, **options):
    assistant = await api("POST", "/assistants", {"model": "scripted"}, **options)
    run = await api("POST", "/threads/runs", {"assistant_id": assistant["id"], **JOB}, **options)
    return f"/threads/{run['thread_id']}/runs/{run['id']}"


@pytest.mark.parametrize("script", [[Wait()], []])
@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_the_answer_is_that_of_the_application(left, script, store, tmp_path):
    """Body and headers are the same, whether the run has ended or not, and whether its text is at hand or not."""
    store = MemoryStore() if store == "memory" else SQLiteStore(tmp_path / "runs.db")
    async with LocalServer(backend=ScriptedBackend(script), store=store) as server, ClientSession() as http:
        api = Api(http, server.url)
        path = await new_run(api)
        if not script:
            await api.ended(await api("GET", path))
        left.clear()
        while True:  # it may go on in between
            answered, theirs = await api.send("GET", path), await api.send("GET", f"{path}?by=others")
            if answered.body == theirs.body:
                break
        assert set(left) == {f"/v1{path}?by=others"}
        same = {"Server", "Content-Type", "Content-Length", "openai-version", "Idempotency-Key-Supported"}
        for name in same & {*theirs.headers}:
            assert answered.headers[name] == theirs.headers[name]
        assert {*map(str.lower, answered.headers)} == {*map(str.lower, theirs.headers)}
        assert ("openai-poll-after-ms" in answered.headers) == bool(script)


@pytest.mark.parametrize(
    ("more", "key", "headers", "status"),
    [
        ("", "sk-alice", {"OpenAI-Beta": "assistants=v2"}, None),
        ("", "sk-alice", {"OpenAI-Beta": "assistants=v1"}, 200),
        ("", "sk-alice", {"OpenAI-Beta": "assistants=v3"}, 400),
        ("", "sk-alice", {"Expect": "100-continue"}, 200),
        ("", "sk-alice", {"Connection": "close"}, 200),
        ("?include=all", "sk-alice", {}, 200),
        ("%20", "sk-alice", {}, 404),
        ("x", "sk-alice", {}, 404),
        ("/", "sk-alice", {}, 404),
        ("", "sk-bob", {}, 404),
        ("", "sk-eve", {}, 401),
        ("", None, {}, 401),
    ],
)
async def test_what_is_unusual_is_left_to_the_application(left, more, key, headers, status):
    """Other versions of the API, errors of all kinds: whoever asks gets no other answer than before."""
    async with LocalServer(keys=KEYS) as server, ClientSession() as http:
        path = await new_run(Api(http, server.url), headers={"Authorization": "Bearer sk-alice"})
        left.clear()
        given = headers if key is None else {"Authorization": f"Bearer {key}", **headers}
        async with http.get(server.url + path + more, headers=given) as response:
            assert response.status == (status or 200)
            assert ("error" in await response.json()) == (response.status != 200)
        assert bool(left) == (status is not None)


async def test_other_requests_are_left_to_the_application(left, server, api):
    """Whatever is no poll goes on at once."""
    path = await new_run(api)
    left.clear()
    await api("POST", path, {"metadata": {"a": "b"}})
    await api("GET", f"{path}/steps")
    assert left == [f"/v1{path}", f"/v1{path}/steps"]


HINT = "openai-poll-after-ms"  # unless the run has ended meanwhile
TOOL = {"type": "function", "function": {"name": "look_up"}}


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@pytest.mark.parametrize("header", [{}, {"Idempotency-Key": "once"}])
async def test_other_frequent_requests_have_the_answer_of_the_application(left, header, store, tmp_path):
    """What creates runs and messages, and submits outputs: headers and names are the same, whoever answers."""
    store = MemoryStore() if store == "memory" else SQLiteStore(tmp_path / "runs.db")
    async with LocalServer(store=store) as server, ClientSession() as http:
        api = Api(http, server.url)
        assistant = await api("POST", "/assistants", {"model": "scripted", "tools": [TOOL]})
        told = []
        for query in "", "?by=others":

            async def send(path, body, query=query):
                headers = {name: value + path + query for name, value in header.items()}
                for _ in range(1 + len(headers)):  # the second one is replayed
                    response = await api.send("POST", path + query, body, headers=headers)
                    assert response.status == 200
                    told.append(({*map(str.lower, response.headers)} - {HINT}, {*response.body}))
                return response.body

            thread = await api("POST", "/threads", {})
            await send(f"/threads/{thread['id']}/messages", {"role": "user", "content": "Hello!"})
            left.clear()
            await send(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})
            run = await send("/threads/runs", {"assistant_id": assistant["id"]})
            assert bool(left) == bool(query)
            run = await api.ended(run)
            [call] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
            outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "1"}]}
            left.clear()
            run = await send(f"/threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs", outputs)
            assert bool(left) == bool(query)
            assert (await api.ended(run))["status"] == "completed"
        half = len(told) // 2
        assert told[:half] == told[half:]


@pytest.mark.parametrize(
    ("path", "body", "key", "status"),
    [
        ("/threads/thread_none/messages", {"role": "user", "content": "Hello!"}, "sk-alice", 404),
        ("/threads/thread_none/messages", {"role": "user"}, "sk-alice", 400),
        ("/threads/thread_none/messages", {"role": "user", "content": "Hello!"}, "sk-eve", 401),
        ("/threads/thread_none/messages", {"role": "user", "content": "Hello!"}, None, 401),
        ("/threads/thread_none/runs", {"assistant_id": "asst_none"}, "sk-alice", 404),
        ("/threads/runs", {"assistant_id": "asst_none"}, "sk-alice", 404),
        ("/threads/thread_none", {"metadata": {}}, "sk-alice", 404),
        ("/threads/thread_none/none", {}, "sk-alice", 404),
    ],
)
async def test_their_errors_are_those_of_the_application(path, body, key, status):
    """Status, headers and body of an error are the same."""
    async with LocalServer(keys=KEYS) as server, ClientSession() as http:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        answers = []
        for query in "", "?by=others":
            async with http.post(server.url + path + query, json=body, headers=headers) as response:
                answers.append((response.status, {*response.headers}, await response.json()))
        assert answers[0] == answers[1]
        assert answers[0][0] == status


async def test_a_stream_begins_in_front(left, server, api):
    """A run that is created with ``stream`` tells its events, with the headers of every response."""
    assistant = await api("POST", "/assistants", {"model": "scripted"})
    thread = await api("POST", "/threads", {})
    left.clear()
    url = f"{server.url}/threads/{thread['id']}/runs"
    async with api.http.post(url, json={"assistant_id": assistant["id"], "stream": True}) as response:
        text = await response.text()
    assert response.headers["openai-version"] == "2020-10-01"
    assert response.headers["x-request-id"].startswith("req_")
    assert text.startswith("event: thread.run.created\n")
    assert text.endswith("event: done\ndata: [DONE]\n\n")
    assert left == []


async def test_with_telemetry_only_polls_are_answered_in_front(left):
    """All else passes the middleware that records requests."""
    async with LocalServer(telemetry=Telemetry()) as server, ClientSession() as http:
        api = Api(http, server.url)
        path = await new_run(api)
        left.clear()
        await api("GET", path)
        await api("POST", "/threads/runs", {"assistant_id": (await api("GET", path))["assistant_id"]})
        assert left == ["/v1/threads/runs"]


async def test_our_own_bug_is_told_as_ever(left, server, api, monkeypatch, caplog):
    """The caller gets the API's error with the ID of the request, and the log has the details."""
    path = await new_run(api)

    async def broken(*_):
        raise RuntimeError("oops")

    monkeypatch.setattr(Runs, "retrieve", broken)
    response = await api.send("GET", path)
    assert response.status == 500
    assert response.headers["x-request-id"] in caplog.text


def test_a_server_of_another_kind_is_left_alone():
    """Without the attribute that they need, polls are answered by the application."""
    engine = Engine(store=MemoryStore(), backend=ScriptedBackend())
    runner = SimpleNamespace(server=SimpleNamespace())
    answer_in_front(runner, engine, None, PollHint())
    assert vars(runner.server) == {}
