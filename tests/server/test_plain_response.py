"""Responses whose head is made beforehand: what is sent, and what the access log is told."""

from email.utils import parsedate_to_datetime
from time import perf_counter

import pytest
from aiohttp import ClientSession, web

from openai_runs.server import plain_response
from openai_runs.server.plain_response import OWN_HEADERS, PlainResponse, new_request_id

pytestmark = pytest.mark.anyio


async def test_it_is_received_as_any_response():
    """Over a connection that stays open, with all headers, and as often as somebody asks."""
    made = []

    async def answer(_):
        made.append(PlainResponse(b'{"a":1}', "req_1", perf_counter(), {"Idempotency-Replayed": "true"}))
        return made[-1]

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        async with ClientSession() as http:
            for _ in range(2):
                async with http.get(url) as response:
                    assert response.status == 200
                    assert await response.json() == {"a": 1}
                    headers = response.headers
                assert headers.items() >= OWN_HEADERS.items()
                assert headers["Content-Type"] == "application/json"
                assert headers["x-request-id"] == "req_1"
                assert headers["Idempotency-Replayed"] == "true"
                assert headers["Content-Length"] == "7"
                assert int(headers["openai-processing-ms"]) >= 0
                assert parsedate_to_datetime(headers["Date"]).tzinfo is not None
                assert made[-1].headers == headers
        assert len({id(response) for response in made}) == 2
    finally:
        await runner.cleanup()


async def test_its_headers_cannot_be_changed():
    """They have been written: a change would be lost."""
    response = PlainResponse(b"{}", new_request_id(), perf_counter(), {})
    with pytest.raises(TypeError):
        response.headers["a"] = "b"


async def test_the_date_is_that_of_the_second(monkeypatch):
    """It is made again when the second has passed."""
    shown = []
    for now in 1.0, 1.9, 2.0:
        monkeypatch.setattr(plain_response, "time", lambda now=now: now)
        shown.append(PlainResponse(b"{}", "req_1", perf_counter(), {}).headers["Date"])
    assert shown == ["Thu, 01 Jan 1970 00:00:01 GMT"] * 2 + ["Thu, 01 Jan 1970 00:00:02 GMT"]
