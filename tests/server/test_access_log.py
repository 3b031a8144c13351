"""The access log, and what aiohttp logs of malformed requests: neither has a secret in it."""

import logging

import anyio
import pytest
from aiohttp import ClientSession

from openai_runs.backends import ScriptedBackend, Wait
from openai_runs.server import LocalServer
from tests.server.api import get_status
from tests.server.raw_http import HEAD, send_raw

pytestmark = pytest.mark.anyio


async def test_an_access_log(caplog):
    """If enabled, one line per request, without query and headers; off by default."""
    caplog.set_level(logging.INFO, "openai_runs.access")
    for log_access, lines in ((False, 0), (True, 1)):
        caplog.clear()
        async with LocalServer(log_access=log_access, keys={"sk-secret": "a"}) as server:
            await get_status(f"{server.url}/threads/a%0Ab?api-key=sk-secret", Authorization="Bearer sk-secret")
        found = [record.getMessage() for record in caplog.records if record.name == "openai_runs.access"]
        assert len(found) == lines
        for line in found:
            assert line.startswith("127.0.0.1 GET /v1/threads/a%0Ab 404 ")
            assert " req_" in line
            assert "sk-secret" not in line


async def test_the_owner(caplog):
    """A program that reads the log is told whose request it was: the label of the key, also for a poll, and no key."""
    caplog.set_level(logging.DEBUG, "openai_runs.access")
    key = {"Authorization": "Bearer sk-secret"}
    async with LocalServer(log_access=True, keys={"sk-secret": "team a"}) as server:
        root = server.url.removesuffix("/v1")
        requests = [(f"{server.url}/assistants", key), (f"{server.url}/threads/a/runs/b", key)]
        requests += [(f"{server.url}/assistants", {"Authorization": "Bearer no"}), (f"{root}/healthz", {})]
        for url, headers in requests:
            await get_status(url, **headers)
        session = server.session(api_key="sk-secret")
        async with session:
            assistant = await session.assistants.create(model="m")
            run = await session.runs.complete(await session.threads.create_and_run(assistant_id=assistant.id))
            await session.runs.retrieve(run)
    fields = [record.request_fields for record in caplog.records]
    assert [each["owner"] for each in fields[:4]] == ["team a", "team a", None, None]
    assert {each["owner"] for each in fields[4:]} == {"team a"}
    caplog.clear()
    async with LocalServer(log_access=True) as server:
        await get_status(f"{server.url}/assistants")
    assert caplog.records[0].request_fields["owner"] is None


async def test_an_access_log_that_nobody_reads(caplog):
    """No line is made if the logger's level discards it."""
    caplog.set_level(logging.WARNING, "openai_runs.access")
    async with LocalServer(log_access=True) as server:
        await get_status(f"{server.url}/assistants")
    assert not caplog.records


async def test_polls_and_probes(caplog):
    """A poll of a run that goes on and a probe that succeeds are routine; whatever has news is not."""
    caplog.set_level(logging.DEBUG, "openai_runs.access")
    go_on = anyio.Event()
    backend = ScriptedBackend([[Wait(go_on)]])
    async with LocalServer(backend=backend, log_access=True) as server, server.session() as session:
        root = server.url.removesuffix("/v1")
        assistant = await session.assistants.create(model="m")
        run = await session.threads.create_and_run(assistant_id=assistant.id)
        path = f"{server.url}/threads/{run.thread_id}/runs/{run.id}"
        caplog.clear()
        statuses = [await get_status(url) for url in (path, f"{path}?a=b", f"{root}/healthz", f"{root}/readyz")]
        assert statuses == [200] * 4
        async with ClientSession() as http, http.head(f"{root}/healthz/") as response:
            assert response.status == 200
        assert [record.levelname for record in caplog.records] == ["DEBUG"] * 5
        caplog.clear()
        server.drain()
        assert await get_status(f"{root}/readyz") == 503
        assert await get_status(f"{path}_") == 404
        go_on.set()
        await session.runs.complete(run)
        assert [record.levelname for record in caplog.records if record.levelname != "DEBUG"] == ["INFO"] * 3
        assert caplog.records[-1].request_fields["path"] == f"/v1/threads/{run.thread_id}/runs/{run.id}"


@pytest.mark.parametrize(
    "data",
    [
        b"GET /v1/threads/x HTTP/1.1\r\n" + HEAD + b"Authorization: Bearer sk-secret\x01\r\n\r\n",
        b"GET /v1/threads/x HTTP/1.1\r\n" + HEAD + b"Authorization Bearer sk-secret\r\n\r\n",
        b"GET /v1/threads/x HTTP/1.1\r\n" + HEAD + b"Authorization: " + b"sk-secret" * 1000 + b"\r\n\r\n",
        b"GET /v1/threads?key=sk-secret\x00 HTTP/1.1\r\n" + HEAD + b"\r\n",
        b"sk-secret /v1/threads HTTP/1.1\r\n" + HEAD + b"\r\n",
        b"POST /v1/threads HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz sk-secret\r\n",
    ],
)
async def test_garbage_is_not_logged(server, data, caplog):
    """The log shows no bytes of a malformed request, which may have a key, and reports it below WARNING."""
    caplog.set_level(logging.DEBUG)
    assert (await send_raw(server, data))[0] == 400
    assert [record.name for record in caplog.records if record.name.startswith("openai_runs")]
    assert "sk-secret" not in caplog.text
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
