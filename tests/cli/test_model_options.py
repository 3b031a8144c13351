"""The options of `openai-runs serve` that choose the model."""

import re

import pytest
from aiohttp import ClientSession

from openai_runs.cli.model_options import Backend, EndpointOptions, MaxTokens, make_backend, make_pass_through
from openai_runs.server import LocalServer
from tests.backends.model_stub import ModelStub
from tests.backends.requests import WEATHER, a_request
from tests.cli.commands import run
from tests.stub import Stub, reply

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--backend", "chat"], "--model-url"),
        (["--backend", "responses", "--model-url", "ftp://x"], "--model-url must begin with http:// or https://"),
        (["--backend", "chat", "--model-url", "localhost:11434"], "did you mean http://localhost:11434/v1?"),
        (["--backend", "chat", "--model-url", "http://x", "--model", "a"], "NAME=NAME"),
        (["--backend", "chat", "--model-url", "http://x", "--model-key-env", "NOT_THERE"], "NOT_THERE"),
        (["--model-url", "http://x"], "--model-url is only for --backend responses or chat"),
        (["--backend", "local", "--model", "a=b"], "--model is only for"),
        (["--backend", "chat", "--model-url", "http://x", "--background"], "--background is only for"),
        (["--backend", "chat", "--model-url", "http://x", "--completion-windows"], "--completion-windows is only for"),
        (["--backend", "responses", "--model-url", "http://x", "--max-tokens-field", "max_tokens"], "is only for"),
        (["--timeout", "5"], "--timeout is only for"),
        (["--max-connections", "5"], "--max-connections is only for"),
        (["--header", "a=b"], "--header is only for"),
        (["--query", "a=b"], "--query is only for"),
        (["--body", "{}"], "--body is only for"),
        (["--pass-through"], "--pass-through is only for --backend responses or chat"),
        (["--backend", "chat", "--model-url", "http://x", "--header", "a"], "--header needs NAME=VALUE"),
        (["--backend", "chat", "--model-url", "http://x", "--query", "=b"], "--query needs NAME=VALUE"),
        (["--backend", "chat", "--model-url", "http://x", "--header", "a b=c"], "--header must have names"),
        (["--backend", "chat", "--model-url", "http://x", "--body", "{"], "--body needs a JSON object"),
        (["--backend", "chat", "--model-url", "http://x", "--body", "[1]"], "--body needs a JSON object"),
    ],
)
def test_a_model_that_cannot_be_asked(arguments: list[str], words: str):
    """Missing or unused options are reported before anything is opened."""
    assert words in run("serve", *arguments, exit_code=2)


def test_live_models_are_made_from_the_arguments():
    """Both kinds of endpoint get their backend, with the names of models mapped."""
    names, tokens = ["gpt-4o=llama3.2", "*=other"], MaxTokens.OLD
    plain = EndpointOptions()
    chat = make_backend(Backend.CHAT, "http://x/v1", "key", names, tokens, plain, background=False)
    responses = make_backend(Backend.RESPONSES, "http://x/v1", None, names, MaxTokens.NEW, plain, background=True)
    assert (type(chat).__name__, type(responses).__name__) == ("ChatCompletionsBackend", "ResponsesBackend")
    assert chat._model_name("gpt-4o") == "llama3.2"
    assert chat._model_name("gpt-5") == "other"


@pytest.mark.parametrize(("is_told", "windows"), [(False, ()), (True, ("2h", "8h"))])
def test_an_endpoint_that_has_completion_windows(is_told: bool, windows: tuple[str, ...]):
    """The backend knows OpenAI's own; of another one it has to be told."""
    options = [None, [], MaxTokens.NEW, EndpointOptions()]
    for url, expected in ("http://x/v1", windows), ("https://api.openai.com/v1", ("2h", "8h")):
        backend = make_backend(Backend.RESPONSES, url, *options, background=False, completion_windows=is_told)
        assert backend.completion_windows == expected


async def test_requests_to_the_endpoint_are_as_the_options_say():
    """Headers and query parameters are added; the body is merged, and the run keeps its tools."""
    endpoint = EndpointOptions(
        timeout=20.0,
        max_connections=5,
        headers=["X-Team=blue=green"],
        query=["api-version=v1"],
        body='{"tools": [], "reasoning": {"summary": "auto"}, "service_tier": "flex", "stream": null}',
    )
    stub = ModelStub()
    async with stub:
        backend = make_backend(Backend.RESPONSES, stub.url, None, [], MaxTokens.NEW, endpoint, background=False)
        async with backend:
            request = a_request(tools=(WEATHER,), reasoning_effort="low")
            assert [event async for event in backend.respond(request)]
    [body] = stub.bodies
    assert [tool["name"] for tool in body["tools"]] == ["get_weather"]
    assert body["reasoning"] == {"effort": "low", "summary": "auto"}
    assert body["service_tier"] == "flex"
    assert "stream" not in body
    assert stub.requests[0].headers["x-team"] == "blue=green"
    assert stub.requests[0].query == "api-version=v1"


def test_each_option_has_an_environment_variable(monkeypatch: pytest.MonkeyPatch):
    """The help names it; what is wrong with its value is said as for the option."""
    monkeypatch.setenv("COLUMNS", "300")
    shown = run("serve", "--help")
    options = {word.removeprefix("--") for word in re.findall(r"--[a-z-]+", shown)}
    for name in options - {"help"} - {name for name in options if name.startswith("no-")}:
        assert f"OPENAI_RUNS_{name.replace('-', '_').upper()}" in shown
    monkeypatch.setenv("OPENAI_RUNS_BACKEND", "chat")
    monkeypatch.setenv("OPENAI_RUNS_MODEL_URL", "http://x")
    monkeypatch.setenv("OPENAI_RUNS_MODEL", "gpt-4o=a gpt-5")
    assert "--model needs NAME=NAME" in run("serve", exit_code=2)


async def test_requests_are_passed_on_to_the_models_endpoint():
    """With its key, and the headers and the query that are for it; nothing is passed on unless it is asked for."""
    options = EndpointOptions(headers=["X-Team=blue"], query=["v=1"])
    assert make_pass_through(False, Backend.CHAT, "http://x", None, options) is None
    async with Stub(reply({})) as stub:
        passed = make_pass_through(True, Backend.CHAT, stub.url, "sk-model", options)
        async with (
            LocalServer(pass_through=passed) as server,
            ClientSession() as http,
            http.get(f"{server.url}/models") as response,
        ):
            assert response.status == 200
    [request] = stub.requests
    assert (request.target, request.headers["authorization"]) == ("/v1/models?v=1", "Bearer sk-model")
    assert request.headers["x-team"] == "blue"
