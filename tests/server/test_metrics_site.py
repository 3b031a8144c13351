"""What Prometheus reads of a server, and where."""

import asyncio
import errno
import socket
from types import SimpleNamespace

import anyio
import pytest
from aiohttp import ClientSession, web
from prometheus_client.parser import text_string_to_metric_families

from openai_runs.backends import Say, ScriptedBackend, Wait
from openai_runs.server import LocalServer
from openai_runs.server.metrics import Metrics
from openai_runs.server.metrics_site import count_requests
from tests.server.api import Api

pytestmark = pytest.mark.anyio

KEYS = {"sk-alice": "alice"}


async def read(http: ClientSession, server: LocalServer) -> dict[tuple[str, ...], float]:
    """The value of each sample, by its name and labels."""
    async with http.get(server.metrics_url, headers={"Authorization": ""}) as response:
        assert response.status == 200
        text = await response.text()
    families = text_string_to_metric_families(text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


async def test_requests() -> None:
    """Counted by template, method and status, whichever prefix they have; polls are among them, and reading is not."""
    headers = {"Authorization": "Bearer sk-alice"}
    async with LocalServer(keys=KEYS, metrics_port=0) as server, ClientSession(headers=headers) as http:
        api = Api(http, server.url)
        assistant = await api("POST", "/assistants", {"model": "m"})
        run = await api("POST", "/threads/runs", {"assistant_id": assistant["id"]})
        path = f"/threads/{run['thread_id']}/runs/{run['id']}"
        for prefix in "", "/v1", "/openai", "/openai/v1":
            async with http.get(server.url.removesuffix("/v1") + prefix + path) as response:
                assert response.status == 200
        await api("GET", "/threads/secret", status=404)
        async with http.get(server.url + "/secret") as response:
            assert response.status == 404
        async with http.request("PURGE", server.url + "/secret") as response:
            assert response.status == 404
        async with http.get(server.url + path, headers={"Authorization": "Bearer secret"}) as response:
            assert response.status == 401
        await read(http, server)
        samples = await read(http, server)
    counted = {key[1:]: value for key, value in samples.items() if key[0] == "openai_runs_http_requests_total"}
    assert counted == {
        ("POST", "/assistants", "200"): 1,
        ("POST", "/threads/runs", "200"): 1,
        ("GET", "/threads/{thread_id}/runs/{run_id}", "200"): 4,
        ("GET", "/threads/{thread_id}/runs/{run_id}", "401"): 1,
        ("GET", "/threads/{thread_id}", "404"): 1,
        ("GET", "other", "404"): 1,
        ("other", "other", "404"): 1,
    }
    timed = "openai_runs_http_request_duration_seconds_count"
    assert samples[timed, "GET", "/threads/{thread_id}/runs/{run_id}"] == 5
    assert samples["openai_runs_run_ends_total", "completed"] == 1


async def test_open_streams() -> None:
    """A stream is open until its run has ended, and is counted as a request then."""
    go_on = anyio.Event()
    backend = ScriptedBackend([[Say("Hello"), Wait(go_on)]])
    async with LocalServer(backend=backend, metrics_port=0) as server, ClientSession() as http:
        assistant = await Api(http, server.url)("POST", "/assistants", {"model": "m"})
        body = {"assistant_id": assistant["id"], "stream": True}
        async with http.post(server.url + "/threads/runs", json=body) as response:
            await response.content.readline()
            samples = await read(http, server)
            assert samples[("openai_runs_streams_open",)] == 1
            assert samples[("openai_runs_runs_executing",)] == 1
            go_on.set()
            await response.read()
        samples = await read(http, server)
    assert samples[("openai_runs_streams_open",)] == 0
    assert samples["openai_runs_http_requests_total", "POST", "/threads/runs", "200"] == 1


async def test_a_port_of_its_own() -> None:
    """The API's port does not show the metrics, even to who has a key; and theirs shows nothing else."""
    async with LocalServer(keys=KEYS, metrics_port=0) as server, ClientSession() as http:
        for path in "/metrics", "/v1/metrics":
            url = server.url.removesuffix("/v1") + path
            async with http.get(url, headers={"Authorization": "Bearer sk-alice"}) as response:
                assert response.status == 404
        async with http.get(server.metrics_url.replace("/metrics", "/v1/assistants")) as response:
            assert response.status == 404


async def test_openmetrics() -> None:
    """Who asks for the newer format gets it."""
    headers = {"Accept": "application/openmetrics-text; version=1.0.0"}
    async with (
        LocalServer(metrics_port=0) as server,
        ClientSession() as http,
        http.get(server.metrics_url, headers=headers) as response,
    ):
        assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        assert (await response.text()).endswith("# EOF\n")


async def test_off() -> None:
    """Unless asked for, nothing listens."""
    async with LocalServer() as server:
        with pytest.raises(RuntimeError, match="there are no metrics: pass metrics_port"):
            _ = server.metrics_url


async def test_a_port_in_use() -> None:
    """The server does not start, and the API's port is free again."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        server = LocalServer(metrics_port=other.getsockname()[1])
        with pytest.raises(OSError) as caught:  # noqa: PT011  # checked by its number
            await server.__aenter__()
    assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize(
    ("outcome", "status"),
    [(web.Response(status=204), "204"), (KeyError("secret"), "500"), (asyncio.CancelledError(), "none")],
)
async def test_how_a_request_ends(outcome: object, status: str) -> None:
    """With a response, with aiohttp's own for a bug, or with a client that is gone."""

    async def answer(_: object) -> object:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    metrics, http_server = Metrics(), SimpleNamespace(request_handler=answer)
    count_requests(SimpleNamespace(server=http_server), metrics)  # type: ignore[arg-type]
    request = SimpleNamespace(method="GET", raw_path="/secret")
    if isinstance(outcome, BaseException):
        with pytest.raises(type(outcome)):
            await http_server.request_handler(request)
    else:
        assert await http_server.request_handler(request) is outcome
    labels = {"method": "GET", "route": "other", "status": status}
    assert metrics.registry.get_sample_value("openai_runs_http_requests_total", labels) == 1


def test_another_aiohttp() -> None:
    """Without the attribute that holds the handler, nothing is counted, and the server works."""
    count_requests(SimpleNamespace(server=SimpleNamespace()), Metrics())  # type: ignore[arg-type]
