"""`LiveBackend`: retries, errors and options, on a stub of each API."""

from typing import Any

import anyio
import pytest

from openai_runs.backends.adaptations import Prompt
from openai_runs.backends.live import _RetryPolicy
from openai_runs.backends.stream_reading import StreamError
from openai_runs.models.model import Unknown
from openai_runs.models.tool import FileSearchResources, FileSearchTool, ToolResources
from tests.backends.live_calls import BACKENDS, answer, ask, backend_at, failure, whole
from tests.backends.model_stub import ModelStub, limited, refused, stream, texts
from tests.backends.reading import Answer, together
from tests.backends.requests import WEATHER, a_request, assistant, call, step, user
from tests.backends.streams import event
from tests.stub import CUT, NEVER, RESET, Reply, reply

pytestmark = pytest.mark.anyio


async def test_a_conversation(kind: str) -> None:
    stub = ModelStub()
    async with stub, backend_at(stub, kind) as backend:
        first = together(await ask(backend, a_request(user("Weather in Oslo?"), tools=(WEATHER,))))
        assert (first.reason, [name for name, _ in first.functions]) == ("tool_calls", ["get_weather"])
        round_ = step(call(id=first.calls[0][0] or "", arguments=first.calls[0][2]))
        second = together(await ask(backend, a_request(user("Weather in Oslo?"), round_, tools=(WEATHER,))))
        assert second == Answer("get_weather answered: sunny", usage=(10, 5), reason="stop")
        assert stub.http.connections == 1  # used again


async def test_how_the_endpoint_is_spoken_to(kind: str) -> None:
    """Model names, headers, query and body follow the backend's options."""
    stub = ModelStub()
    options = {
        "models": {"gpt-4o": "llama", "*": "small"},
        "headers": {"X-Team": "blue"},
        "query": {"api-version": "v1"},
        "body": {"seed": 1} if kind == "chat" else {"user": "us"},
    }
    async with stub, backend_at(stub, kind, **options) as backend:
        await ask(backend)
        await ask(backend, a_request(model="gpt-5"))
    first, second = stub.bodies
    assert (first["model"], second["model"]) == ("llama", "small")
    assert first.items() >= options["body"].items()
    request = stub.requests[0]
    assert request.target.endswith("?api-version=v1")
    assert request.headers["x-team"] == "blue"
    assert request.headers["authorization"] == "Bearer sk-of-the-tests"


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://api.openai.com/v1", True),
        ("https://eu.api.openai.com/v1", True),
        ("https://mine.openai.azure.com/openai/v1", True),
        ("https://notapi.openai.com.example/v1", False),
        ("http://127.0.0.1:8000/v1", False),
    ],
)
def test_openai_is_told_by_what_a_prompt_is_cached(kind: str, url: str, sent: bool) -> None:
    """Calls of one thread begin alike. Other servers may refuse what they do not know."""
    body = BACKENDS[kind](url)._with_extra_fields({"model": "m"}, a_request())
    assert body.get("prompt_cache_key") == ("thread_1" if sent else None)


async def test_models_that_are_not_mapped_keep_their_names(kind: str) -> None:
    stub = ModelStub()
    await answer(stub, kind, models={"gpt-4": "llama"})
    assert stub.bodies[0]["model"] == "gpt-4o"


async def test_a_token_can_be_fetched(kind: str) -> None:
    async def token() -> str:
        return "fresh-token"

    stub = ModelStub()
    async with stub, BACKENDS[kind](stub.url, token) as backend:
        await ask(backend)
    assert stub.requests[0].headers["authorization"] == "Bearer fresh-token"


async def test_an_endpoint_that_does_not_stream(kind: str) -> None:
    if kind == "chat":
        message = {"role": "assistant", "content": "Hello"}
        body: Any = {"choices": [{"message": message, "finish_reason": "stop"}]}
    else:
        content = [{"type": "output_text", "text": "Hello"}]
        body = {"id": "resp_1", "status": "completed", "output": [{"type": "message", "content": content}]}
    assert await answer(ModelStub(reply(body)), kind) == Answer("Hello", reason="stop")


@pytest.mark.parametrize("lost", [CUT, RESET, reply(b"", 500), reply(b"<html>", 502), reply(b"", 503, retry_after="1")])
async def test_what_failed_before_a_word_was_said_is_repeated(kind: str, lost: Reply) -> None:
    stub = ModelStub(lost, stream([], end="cut"), stream([]))
    assert (await answer(stub, kind)).text == "You said: Hello"
    assert len(stub.requests) == 4


async def test_but_not_for_ever(kind: str) -> None:
    stub = ModelStub(*[CUT] * 3)
    error = await failure(stub, kind, max_retries=2)
    assert error.code == "server_error"
    assert len(stub.requests) == 3


async def test_a_429_delays_the_run_and_does_not_fail_it(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """Rate limits are waited for, however often and long, as the run has time."""
    caplog.set_level("INFO", "openai_runs.backends")
    stub = ModelStub(*[limited()] * 10, limited("300"))
    assert (await answer(stub, kind, a_request(seconds_left=600.0), max_retries=0)).reason == "stop"
    assert len(stub.requests) == 12
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 11
    assert "the model call is retried in 300 s: " in messages[-1]


async def test_a_429_that_lasts_longer_than_the_run_fails_it_at_once(kind: str) -> None:
    error = await failure(ModelStub(limited("300")), kind, a_request(seconds_left=299.0))
    assert error.code == "rate_limit_exceeded"
    assert "Slow down." in error.message


@pytest.mark.parametrize("kept", [limited(), reply(b"", 503)])
async def test_what_lasts_until_the_deadline_is_named(kind: str, kept: Reply) -> None:
    """The run fails with the reason, and does not just expire, if there is no time for another attempt."""
    error = await failure(ModelStub(kept), kind, a_request(seconds_left=0.4))
    assert error.code == ("rate_limit_exceeded" if kept == limited() else "server_error")
    assert "status" in error.message


async def test_waits_grow_up_to_a_limit() -> None:
    policy = _RetryPolicy(Prompt(a_request(seconds_left=7.9), ()), 4)
    slow = StreamError("Slow down.", "rate_limit_exceeded")
    assert [policy(slow) for _ in range(5)] == [True, True, True, True, False]  # the fifth wait would be 8 s


@pytest.mark.parametrize(
    "final", [limited(x_should_retry="false"), refused("Pay.", 429, "insufficient_quota", "insufficient_quota")]
)
async def test_a_429_that_does_not_pass_by_waiting_fails_the_run(kind: str, final: Reply) -> None:
    assert (await failure(ModelStub(final), kind)).code == "rate_limit_exceeded"


async def test_a_limit_that_is_told_in_the_stream_delays_the_run_too(kind: str) -> None:
    slow = event({"error": {"message": "Slow down.", "code": "rate_limit_exceeded"}})
    assert (await answer(ModelStub(*[stream([slow])] * 10), kind, max_retries=0)).reason == "stop"


async def test_half_an_answer_fails_the_run(kind: str) -> None:
    """After the first event, a call is not retried, as events cannot be taken back."""
    events = whole(kind)
    error = await failure(ModelStub(stream(events[:-3], end="cut")), kind)
    assert error.code == "server_error"


async def test_an_error_after_words_fails_the_run(kind: str) -> None:
    events = [*whole(kind)[:-3], event({"error": {"message": "Overloaded."}}, "error")]
    error = await failure(ModelStub(stream(events)), kind)
    assert (error.code, error.message) == ("server_error", "Overloaded.")


async def test_silence_for_too_long_fails_the_run(kind: str) -> None:
    error = await failure(ModelStub(stream(whole(kind)[:-3], end="hang")), kind, timeout=0.05)
    assert "nothing came for 0.05 s" in error.message


@pytest.mark.parametrize("begun", [False, True])
async def test_silence_before_the_first_word_lasts_as_long_as_the_run_has_time(kind: str, begun: bool) -> None:
    """A model may think for longer than the timeout. There is no second call: it would be billed too."""
    stub = ModelStub(stream(whole(kind)[:1], end="hang") if begun else NEVER)
    error = await failure(stub, kind, a_request(seconds_left=0.4), timeout=0.2)
    assert "nothing came for 0.4 s" in error.message
    assert len(stub.requests) == 1


async def test_as_many_calls_at_once_as_the_engine_makes(kind: str) -> None:
    """No run waits for a connection: the engine has a limit of its own, and tells which runs are queued."""
    stub = ModelStub(*[NEVER] * 150)
    async with stub, backend_at(stub, kind) as backend, anyio.create_task_group() as tasks:
        for _ in range(150):
            tasks.start_soon(ask, backend)
        with anyio.fail_after(15):  # less than the timeout after which a connection would be free again
            await stub.http.requested(150)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("answered", "code", "words"),
    [
        (refused("Bad key.", 401), "server_error", "401: Bad key. (check the key"),
        (refused("Not you.", 403), "server_error", "403: Not you. (check the key"),
        (reply(b"", 404), "server_error", "404: no reason given (check the base URL"),
        (refused("The model `x` does not exist.", 404), "invalid_prompt", "404: The model `x` does not exist."),
        (refused("Vector store with id ['vs_9'] not found.", 404), "invalid_prompt", "not found."),
        (refused("Invalid URL (POST /v1/v1/responses)", 404), "server_error", "(check the base URL"),
        (refused("Bad schema."), "invalid_prompt", "400: Bad schema."),
        (refused("Bad schema.", 422), "invalid_prompt", "422: Bad schema."),
        (reply(b"<html>moved</html>", 301), "server_error", "301: <html>moved</html>"),
        (reply(b"nonsense", content_type="text/html"), "server_error", "the request to the model's endpoint failed"),
    ],
)
async def test_what_is_refused_fails_the_run_at_once_and_says_why(
    kind: str, answered: Reply, code: str, words: str
) -> None:
    stub = ModelStub(answered)
    error = await failure(stub, kind)
    assert error.code == code
    assert words in error.message
    assert "sk-of-the-tests" not in error.message
    assert "127.0.0.1" not in error.message
    assert len(stub.requests) == 1


@pytest.mark.parametrize(
    ("answered", "told", "logged"),
    [
        (CUT, "the connection broke", "/127.0.0.1:{port}/v1: "),
        (
            refused("http://10.0.0.1:8000 is away.", 503),
            "status 503: (address hidden) is away.",
            "10.0.0.1:8000 is away.",
        ),
        (refused("Not found.", 404), "ends in /v1)", "at http://127.0.0.1:{port}/v1: 404"),
        ("cut", "broke off: the connection broke", "at http://127.0.0.1:{port}/v1 broke off"),
        (stream([event({"error": {"message": "127.0.0.1:{port} is away."}})]), "is away.", "127.0.0.1:{port} is away."),
    ],
)
async def test_where_the_endpoint_is_only_the_log_says(
    kind: str, answered: Reply | str, told: str, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever asked for the run may not be whoever runs the server."""
    stub = ModelStub(stream(whole(kind)[:-3], end="cut") if isinstance(answered, str) else answered)
    error = await failure(stub, kind, max_retries=0)
    port = stub.url.split(":")[2].partition("/")[0]
    assert told in error.message
    assert "127.0.0.1" not in error.message
    assert port not in error.message
    assert "10.0.0.1" not in error.message
    assert logged.format(port=port) in caplog.messages[-1].replace("{port}", port)


@pytest.mark.parametrize("named", [False, True])
async def test_a_vector_store_that_is_missing_is_named(named: bool) -> None:
    resources = ToolResources(file_search=FileSearchResources(vector_store_ids=("vs_1", "vs_2")))
    words = "Vector store vs_1 not found." if named else "Vector store not found."
    request = a_request(tools=(FileSearchTool(),), tool_resources=resources)
    error = await failure(ModelStub(refused(words, 404)), "responses", request)
    assert error.message.endswith(words if named else f"{words} (the run searches vs_1, vs_2)")


TOO_LONG = [
    refused("Too long.", 400, "context_length_exceeded"),
    refused("This model's maximum context length is 4096 tokens.", 400),
    refused("request exceeds the available context size", 400, "400", "exceed_context_size_error"),
]


@pytest.mark.parametrize("too_long", TOO_LONG)
async def test_a_thread_that_is_too_long_is_shortened(kind: str, too_long: Reply) -> None:
    items = [user("1"), assistant("2"), user("3"), assistant("4"), user("5"), assistant("6"), user("7")]
    stub = ModelStub(too_long, too_long)
    await answer(stub, kind, a_request(*items), max_retries=0)
    assert [texts(body) for body in stub.bodies] == [["1", "2", "3", "4", "5", "6", "7"], ["5", "6", "7"], ["7"]]


async def test_one_that_is_too_long_all_the_same_fails_the_run(kind: str) -> None:
    error = await failure(ModelStub(*TOO_LONG[:2]), kind, a_request(user("1"), user("2")))
    assert error.code == "invalid_prompt"


async def test_last_messages_are_not_shortened(kind: str) -> None:
    error = await failure(ModelStub(TOO_LONG[0]), kind, a_request(user("1"), user("2"), may_shorten=False))
    assert (error.code, "Too long." in error.message) == ("invalid_prompt", True)


async def test_a_prompt_has_a_limit_of_its_own(kind: str) -> None:
    items = [user("a" * 4000), user("b" * 400)]
    stub = ModelStub()
    await answer(stub, kind, a_request(*items, max_prompt_tokens=500))
    assert len(stub.bodies[0]["messages" if kind == "chat" else "input"]) == 1
    stub = ModelStub()
    await answer(stub, kind, a_request(*items, max_prompt_tokens=500, may_shorten=False))
    assert len(stub.bodies[0]["messages" if kind == "chat" else "input"]) == 2


async def test_a_message_that_cannot_be_sent_does_not_block_its_thread(kind: str) -> None:
    stub = ModelStub()
    assert (await answer(stub, kind, a_request(user(Unknown("audio", {})), user("And now?")))).reason == "stop"
    assert "type 'audio'" in texts(stub.bodies[0])[0]
