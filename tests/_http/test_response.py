"""`Reader`: what a response means, by value; the same over HTTP is in `test_transport`."""

import pytest
from yarl import URL

from openai_runs._http.redaction import Secrets
from openai_runs._http.response import Reader, Response
from openai_runs.errors import (
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    ProtocolError,
    ResponseError,
    ServerError,
    UnsupportedEndpointError,
)
from openai_runs.models.thread import Thread

BASE = "https://example.org/v1"
RUNS = URL(f"{BASE}/threads/thread_1/runs")


def model(status, body, into=Thread, **headers):
    return Reader(BASE, Secrets({})).model(Response(status, headers, body, {}), into, "POST", RUNS)


@pytest.mark.parametrize("status", [200, 201, 202, 299])
def test_a_model(status):
    """Any status of success stands for the object in the body."""
    assert model(status, b'{"id":"thread_1","object":"thread","created_at":0}').id == "thread_1"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"object":"thread"}'])
def test_a_body_of_something_else(body):
    """What is no such object is a `ProtocolError` with the status and the beginning of the body."""
    with pytest.raises(ProtocolError) as caught:
        model(200, body, **{"Content-Type": "text/html", "Content-Length": str(len(body))})
    assert (caught.value.status, caught.value.body) == (200, body.decode())


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, BadRequestError),
        (422, BadRequestError),
        (500, ServerError),
        (599, ServerError),
    ],
)
def test_an_error_by_its_status(status, error):
    """Each status has its class; the error object's fields are attributes."""
    body = b'{"error":{"message":"No.","type":"t","code":"c","param":"p"}}'
    with pytest.raises(error) as caught:
        model(status, body, **{"X-Request-ID": "req_1"})
    said = caught.value
    assert (said.status, said.message, said.type, said.code, said.param) == (status, "No.", "t", "c", "p")
    assert said.request_id == "req_1"
    assert str(said) == f"POST /v1/threads/thread_1/runs at {BASE}: {status}: No. (request req_1)"


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({}, "The request had no key: pass api_key=, or set OPENAI_API_KEY."),
        ({"Authorization": ""}, "The request had no key: pass api_key=, or set OPENAI_API_KEY."),
        ({"Authorization": "Bearer sk-1"}, "The request had a key, from api_key or OPENAI_API_KEY: is it one of"),
        ({"api-key": "sk-1"}, "The request had a key, from api_key or OPENAI_API_KEY: is it one of"),
    ],
)
def test_a_key_that_is_missing_or_wrong(sent: dict[str, str], words: str):
    """The error says which of the two, and where a key comes from; not the key."""
    response = Response(401, {"X-Request-ID": "req_1"}, b'{"error":{"message":"No."}}', sent)
    with pytest.raises(AuthenticationError) as caught:
        Reader(BASE, Secrets({})).model(response, Thread, "POST", RUNS)
    assert f"{BASE}: 401: No. {words}" in str(caught.value)
    assert str(caught.value).endswith(" (request req_1)")
    assert (caught.value.status, caught.value.message) == (401, "No.")
    assert "sk-1" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [(b'{"message":"Bare."}', "Bare."), (b'{"error":"text"}', ""), (b"<html>Bad gateway</html>", ""), (b"", "")],
)
def test_errors_that_are_not_the_api_s(body, message):
    """A bare error object is read too; of anything else, the text is shown."""
    with pytest.raises(ServerError) as caught:
        model(502, body)
    assert caught.value.message == message
    assert (message or body.decode() or "no body") in str(caught.value)


def test_two_kinds_of_not_found():
    """A path that does not exist means another endpoint; an object that does not exist is the caller's matter."""
    with pytest.raises(UnsupportedEndpointError, match="does not speak the Assistants API"):
        model(404, b'{"error":{"message":"Invalid URL (POST /v1/threads/thread_1/runs)"}}')
    with pytest.raises(NotFoundError) as caught:
        model(404, b'{"error":{"message":"No thread found with id \'thread_1\'."}}')
    assert type(caught.value) is NotFoundError


def test_a_redirect_is_no_answer():
    """It is not followed, and the error says where it leads."""
    with pytest.raises(ResponseError, match=r"a redirect to https://elsewhere\.example/, which is not followed"):
        model(307, b"", Location="https://elsewhere.example/")
