"""What an endpoint refuses of a conversation becomes a note: old content does not block a thread forever."""

from typing import Any

import pytest

from openai_runs.backends.hosted_tools import code_interpreter_call
from openai_runs.models.message import Attachment
from openai_runs.models.tool import (
    CodeInterpreterResources,
    CodeInterpreterTool,
    Function,
    FunctionName,
    FunctionTool,
    NamedToolChoice,
    ToolResources,
)
from tests.backends.live_calls import answer, ask, backend_at, failure, whole
from tests.backends.model_stub import ModelStub, refused, stream, texts
from tests.backends.reading import together
from tests.backends.requests import WEATHER, a_request, assistant, call, image_file, image_url, step, user
from tests.backends.streams import event
from tests.stub import Reply, reply

pytestmark = pytest.mark.anyio

CODE = code_interpreter_call(
    {
        "type": "code_interpreter_call",
        "id": "ci_1",
        "status": "completed",
        "container_id": "cntr_1",
        "code": "print(1)",
        "outputs": [{"type": "logs", "logs": "1"}],
    }
)


@pytest.mark.parametrize(
    "refusal",
    [
        refused("Error while downloading https://example.com/cat.png.", code="invalid_image_url"),
        refused("At most 0 image(s) may be provided in one prompt."),
        refused("This model does not support image input.", 404),
        stream([event({"error": {"code": "invalid_image_url", "message": "Error while downloading it."}})]),
    ],
)
async def test_images_that_are_refused(kind: str, refusal: Reply, caplog: pytest.LogCaptureFixture) -> None:
    stub = ModelStub(refusal)
    request = a_request(user("What is it?", image_url()), assistant("A cat."), user("And now?"))
    assert (await answer(stub, kind, request)).text == "You said: And now?"
    assert "https://example.com/cat.png" in str(stub.bodies[1])
    assert "'image_url':" not in str(stub.bodies[1])
    assert "images are sent as notes" in caplog.text


@pytest.mark.parametrize("words", ["Container is expired.", "Container with id 'cntr_1' not found."])
async def test_containers_that_have_expired(words: str) -> None:
    """Code that ran in them is a note, and other calls of the round stay."""
    stub = ModelStub(refused(words))
    request = a_request(
        user("?"), step(CODE, call(), run_id="run_1"), step(CODE, run_id="run_1"), user("And now?"), tools=(WEATHER,)
    )
    await answer(stub, "responses", request)
    kinds = [item.get("type") for item in stub.bodies[1]["input"]]
    assert kinds == [None, "message", "function_call", "function_call_output", "message", None]
    assert "print(1)" in texts(stub.bodies[1])[1]


async def test_files_that_are_gone() -> None:
    """Only those that the endpoint names are left out, wherever they are."""
    resources = ToolResources(code_interpreter=CodeInterpreterResources(file_ids=("file-gone", "file-b")))
    attachments = tuple(Attachment(file_id=id, tools=(CodeInterpreterTool(),)) for id in ("file-gone", "file-c"))
    request = a_request(
        user("?", image_file("file-gone"), image_file("file-d"), attachments=attachments),
        tools=(CodeInterpreterTool(),),
        tool_resources=resources,
    )
    stub = ModelStub(refused("No such File object: file-gone", 404))
    await answer(stub, "responses", request)
    body = stub.bodies[1]
    assert body["tools"][0]["container"]["file_ids"] == ["file-b", "file-c"]
    assert [part.get("file_id") for part in body["input"][0]["content"]] == [None, None, "file-d", None]


async def test_strict_chat_templates(kind: str) -> None:
    """Consecutive messages of one role are joined for a model that refuses them, from then on in its first request."""
    words = "Conversation roles must alternate user/assistant/user/assistant/..."
    stub = ModelStub(refused(words, 500, type="InternalServerError"))
    request = a_request(user("A"), user("B", image_url()), assistant("C"), assistant("D"), user("E"))
    async with stub, backend_at(stub, kind) as backend:
        await ask(backend, request)
        await ask(backend, request)
    assert [texts(body) for body in stub.bodies] == [["A", "B", "C", "D", "E"], *[["A", "C\n\nD", "E"]] * 2]


@pytest.mark.parametrize(
    "refusal", [refused("This image is not good."), refused("Roles must alternate."), refused("No such file: file-1")]
)
async def test_a_refusal_that_nothing_can_be_done_about_fails_the_run_at_once(kind: str, refusal: Reply) -> None:
    stub = ModelStub(refusal)
    assert (await failure(stub, kind)).code == "invalid_prompt"
    assert len(stub.requests) == 1


async def test_what_is_refused_again_fails_the_run(kind: str) -> None:
    """Nothing is sent more often than it changes."""
    refusal = refused("Bad image.")
    stub = ModelStub(refusal, refusal)
    assert (await failure(stub, kind, a_request(user("?", image_url())))).code == "invalid_prompt"


async def test_an_error_that_is_no_refusal_changes_nothing(kind: str) -> None:
    stub = ModelStub(reply({"error": {"message": "The image service is down."}}, 503))
    await answer(stub, kind, a_request(user("?", image_url())))
    first, second = stub.bodies
    assert first == second


async def test_a_model_without_encrypted_thoughts() -> None:
    """It is not asked for them again."""
    stub = ModelStub(refused("Encrypted content is not supported with this model.", code="invalid_value"))
    request: Any = a_request(tools=(WEATHER,))
    async with stub, backend_at(stub, "responses") as backend:
        await ask(backend, request)
        await ask(backend, request)
    assert [body.get("include") for body in stub.bodies] == [["reasoning.encrypted_content"], None, None]


async def test_a_server_that_ignores_which_function_must_be_called(kind: str) -> None:
    """It is offered no other one, from then on at once; others get the same tools in each round."""
    other = FunctionTool(function=Function(name="get_time"))
    named = NamedToolChoice(type="function", function=FunctionName(name="get_weather"))
    stub = ModelStub(stream(whole(kind, "", [("get_time", "{}")])))
    request = a_request(tools=(other, WEATHER), tool_choice=named)
    async with stub, backend_at(stub, kind) as backend:
        for _ in range(2):
            assert [name for name, _ in together(await ask(backend, request)).functions] == ["get_weather"]
        await ask(backend, a_request(tools=(other, WEATHER)))
    assert [len(body["tools"]) for body in stub.bodies] == [2, 1, 1, 2]


async def test_a_server_that_calls_what_it_was_not_offered(kind: str) -> None:
    named = NamedToolChoice(type="function", function=FunctionName(name="get_weather"))
    stub = ModelStub(stream(whole(kind, "", [("get_time", "{}")])))
    error = await failure(stub, kind, a_request(tools=(WEATHER,), tool_choice=named))
    assert error.message == "the endpoint ignored tool_choice: it called get_time"
