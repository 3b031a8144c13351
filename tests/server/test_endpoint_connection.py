"""Requests whose whole answer is needed; what is passed on as it comes, is in `test_pass_through.py`."""

import pytest

from openai_runs.server import endpoint_connection
from openai_runs.server.endpoint_connection import EndpointConnection, NoAnswerError
from tests.stub import CUT, RESET, Reply, Stub, error, reply

pytestmark = pytest.mark.anyio

KEY = "sk-of-the-endpoint-1234"


async def ask(*answers: Reply, path: str = "/files/{file_id}", **options: object):
    async with Stub(*answers) as stub:
        connection = EndpointConnection(stub.url, KEY, headers={"X-Team": "blue"}, query={"v": "1"})
        async with connection.opened():
            return await connection.ask("it", "GET", path, ids={"file_id": "a b"}, **options), stub.requests


async def test_a_whole_answer():
    """With the key, the headers and the query of every request; IDs stay in their places."""
    answer, [request] = await ask(reply({"id": "a"}, 200, x_more="1"), query={"limit": 3})
    assert (answer.status, answer.body, answer.headers["x-more"]) == (200, b'{"id": "a"}', "1")
    assert (answer.is_success, answer.may_be_done) == (True, True)
    assert request.target == "/v1/files/a%20b?v=1&limit=3"
    assert (request.headers["authorization"], request.headers["x-team"]) == (f"Bearer {KEY}", "blue")
    assert answer.response().body == answer.body


@pytest.mark.parametrize(("status", "may_be_done"), [(400, False), (404, False), (408, True), (500, True), (503, True)])
async def test_an_error(status: int, may_be_done: bool):
    """It is an answer, without the key in it."""
    answer, _ = await ask(error(status, f"Not with {KEY}."))
    assert (answer.status, answer.is_success, answer.may_be_done) == (status, False, may_be_done)
    assert KEY.encode() not in answer.body


@pytest.mark.parametrize("lost", [CUT, RESET, reply(b"", 302), reply(b"x" * 100).cut(1), reply(b"x" * 101)])
async def test_no_answer(lost: Reply, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """The request may have taken effect; the log has the reason under the name that the error has."""
    monkeypatch.setattr(endpoint_connection, "_MAX_ANSWER", 100)
    with pytest.raises(NoAnswerError, match="under it") as failure:
        await ask(lost)
    assert (failure.value.status, failure.value.may_be_done) == (502, True)
    assert "request it: the model's endpoint gives no answer" in caplog.text


async def test_nothing_was_sent():
    """Nobody listens there."""
    async with Stub() as stub:
        connection = EndpointConnection(stub.url)
    async with connection.opened():
        with pytest.raises(NoAnswerError) as failure:
            await connection.ask("it", "POST", "/files")
    assert not failure.value.may_be_done
