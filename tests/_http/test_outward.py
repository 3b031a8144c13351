"""What may be said of a failed request to those who must not learn where it went."""

import pytest

from openai_runs import Session
from openai_runs._http.outward import HIDDEN, outward, without_addresses
from openai_runs.errors import ProtocolError, ResponseError, TransportError
from tests.stub import CUT, NEVER, Stub, error, reply

pytestmark = pytest.mark.anyio

BASE = "http://llm.example.net:8000/v1"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "no route to http://llm.example.net:8000/v1/chat/completions, says the proxy",
            "no route to {}, says the proxy",
        ),
        ("HTTPS://LLM.example.net is down.", "{} is down."),
        ('{"message": "llm.example.net:8000 refused"}', '{"message": "{} refused"}'),
        ("Upstream (http://10.1.2.3:9000/x?key=1) failed", "Upstream ({}) failed"),
        ("connect 192.168.0.7:8080: refused; 127.0.0.1 too", "connect {}: refused; {} too"),
        ("http://vllm:8000 and http://a.svc.cluster.local/ and http://[::1]:80/x", "{} and {} and {}"),
        ("http://x:notaport/", "{}"),
        ("See https://platform.openai.com/account/api-keys.", "See https://platform.openai.com/account/api-keys."),
        ("8.8.8.8, version 1.2.3.4.5 and 999.1.1.1", "8.8.8.8, version 1.2.3.4.5 and 999.1.1.1"),
        ("my-llm.example.net.evil is another, example.net too", "my-llm.example.net.evil is another, example.net too"),
    ],
)
def test_addresses_are_hidden(text: str, shown: str):
    """The endpoint's own, and those that only its network knows; what anybody can look up stays, and all else."""
    assert without_addresses(text, BASE) == shown.replace("{}", HIDDEN)


@pytest.mark.parametrize(
    ("base", "text", "shown"),
    [
        ("http://ollama:11434/v1", "ollama has no such model", "ollama has no such model"),
        ("http://ollama:11434/v1", "ollama:11434 is away", "{} is away"),
        ("http://[fd00::7]:80/v1", "[fd00::7]:80 and fd00::7 are away", "{} and {} are away"),
    ],
)
def test_a_name_that_may_be_a_word(base: str, text: str, shown: str):
    """It is the endpoint's with a port only."""
    assert without_addresses(text, base) == shown.replace("{}", HIDDEN)


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        (error(503, "no GPU at 10.0.0.9"), ResponseError, f"status 503: no GPU at {HIDDEN}"),
        (reply(b"", 502), ResponseError, "status 502: no reason given"),
        (reply(b"<html>", 500), ResponseError, "status 500: <html>"),
        (CUT, TransportError, "the connection broke"),
        (NEVER, TransportError, "nothing came for 0.05 s"),
        (reply(b"<html>", content_type="text/html"), ProtocolError, f"{HIDDEN} answered 200 with a body that does not"),
    ],
)
async def test_what_happened_is_told(answer, kind, told: str):
    """Its status, the endpoint's words, or how the connection broke; the error itself says where."""
    async with Stub(answer) as stub, stub.session(timeout=0.05, max_retries=0) as session:
        transport = session._transport
        with pytest.raises(kind) as raised:
            await transport.request("POST", transport.url("/x"), dict)
        assert outward(raised.value, transport.base_url).startswith(told)
        assert "127.0.0.1" not in outward(raised.value, transport.base_url)
        assert transport.base_url in str(raised.value)


async def test_nobody_is_there():
    """The system's words for it name the address; ours do not."""
    async with Stub() as stub:
        pass
    for url in stub.url, "https://127.0.0.1:1/v1":
        async with Session(base_url=url, api_key=None, max_retries=0) as session:
            transport = session._transport
            with pytest.raises(TransportError) as raised:
                await transport.request("GET", transport.url("/x"), dict)
        assert outward(raised.value, url) == "no connection could be made"


def test_an_error_of_other_origin():
    """It says nothing, rather than too much."""
    assert outward(TransportError("at http://10.0.0.1"), BASE) == "no usable response"
