"""What is done with a connection that leads nowhere; `test_exchanges.py` sees what is learned from it."""

import asyncio
from typing import Any

import aiohttp
import pytest

from openai_runs._http.rehearsal import Nowhere, Rehearsal, do_at_once

pytestmark = pytest.mark.anyio


async def respond(nowhere: Nowhere, **given: Any) -> aiohttp.ClientResponse:
    http = aiohttp.ClientSession(connector=nowhere)
    try:
        return await http.get("http://127.0.0.1/a", **given)
    finally:
        http.detach()


async def test_a_request_is_noted() -> None:
    """What is written, how the response is to be read, and what else is done; the response is there at once."""
    nowhere = Nowhere()
    response = do_at_once(respond(nowhere, headers={"X-Mine": "1"}))
    rehearsal = nowhere.rehearsal
    assert response.status == 204
    assert rehearsal.written.startswith(b"GET /a HTTP/1.1\r\n")
    assert b"X-Mine: 1" in rehearsal.lines
    assert rehearsal.reading["auto_decompress"] is True
    assert sorted(rehearsal.done) == ["read", "release", "start_timeout"]
    assert rehearsal.key.host == "127.0.0.1"


async def test_what_is_not_known_fails() -> None:
    """What a connection is asked for that is not known here is an error, and no guess."""
    nowhere = Nowhere()
    connection = await nowhere.connect(aiohttp.ClientRequest("GET", aiohttp.client.URL("http://a")), [], None)  # type: ignore[arg-type]  # it is not looked at
    with pytest.raises(AttributeError):
        connection.add_callback(print)


@pytest.mark.parametrize(
    ("other", "is_like"),
    [
        (Rehearsal("a", b"1\r\n2", {"x": 1}, ["read", "release"]), True),
        (Rehearsal("a", b"2\r\n1", {"x": 1}, ["release", "read"]), True),
        (Rehearsal("b", b"1\r\n2", {"x": 1}, ["read", "release"]), False),
        (Rehearsal("a", b"1\r\n3", {"x": 1}, ["read", "release"]), False),
        (Rehearsal("a", b"1\r\n2", {"x": 2}, ["read", "release"]), False),
        (Rehearsal("a", b"1\r\n2", {"x": 1}, ["read"]), False),
    ],
)
def test_the_same(other: Rehearsal, is_like: bool) -> None:
    """Two did the same if they led to the same place, and wrote, read and did the same, in whatever order."""
    assert Rehearsal("a", b"1\r\n2", {"x": 1}, ["read", "release"]).is_like(other) is is_like


async def test_nothing_is_waited_for() -> None:
    """What waits is given up."""
    with pytest.raises(RuntimeError, match="it waits for something"):
        do_at_once(asyncio.sleep(0))
