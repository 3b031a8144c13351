"""Uploaded images from the client to the model's endpoint, of either API."""

import base64
from typing import Any

import pytest

from openai_runs.backends import ChatCompletionsBackend, ResponsesBackend
from openai_runs.errors import RunFailedError
from openai_runs.following.polling import Polling
from openai_runs.server import LocalServer
from openai_runs.session import Session
from tests.backends.model_stub import ModelStub, refused

pytestmark = pytest.mark.anyio

QUICK = Polling(first=0.001, longest=0.01)
GIF = base64.b64decode("R0lGODlhAQABAAAAACwAAAAAAQABAAA=")
URL = f"data:image/gif;base64,{base64.b64encode(GIF).decode()}"
KINDS = {"chat": ChatCompletionsBackend, "responses": ResponsesBackend}


async def ask(session: Session, file_id: str) -> Any:
    assistant = await session.assistants.create(model="gpt-4o")
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_file", "image_file": {"file_id": file_id}}]
    thread = await session.threads.create(messages=[{"role": "user", "content": parts}])
    run = await session.runs.create(thread.id, assistant_id=assistant.id)
    return await session.runs.complete(run, polling=QUICK)


def sent(stub: ModelStub) -> list[Any]:
    """The parts of the user's message in the latest request."""
    body = stub.bodies[-1]
    return next(item for item in body.get("messages") or body["input"] if item.get("role") == "user")["content"]


@pytest.mark.parametrize("kind", KINDS)
async def test_the_image_is_sent(kind: str):
    """The endpoint gets it in the request, also if all files of the server are searched here."""
    for files in ("unread", "local"):
        async with (
            ModelStub() as stub,
            LocalServer(backend=KINDS[kind](stub.url), files=files) as server,
            server.session() as session,
        ):
            file = await session.files.create(GIF, filename="cat.gif", purpose="vision")
            await ask(session, file.id)
            [_, image] = sent(stub)
            if kind == "chat":
                assert image == {"type": "image_url", "image_url": {"url": URL}}
            else:
                assert image == {"type": "input_image", "image_url": URL, "detail": "auto"}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_model_that_takes_no_images(kind: str):
    """It gets a note in its place, without the image in it."""
    async with (
        ModelStub(lambda _: refused("This model does not support image inputs.")) as stub,
        LocalServer(backend=KINDS[kind](stub.url)) as server,
        server.session() as session,
    ):
        file = await session.files.create(GIF, filename="cat.gif", purpose="vision")
        await ask(session, file.id)
        note = sent(stub)
        assert "[An image was here, which cannot be sent to this model.]" in str(note)
        assert "base64" not in str(note)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_image_of_another_owner(kind: str):
    """Chat Completions has no files, so the run fails; at a Responses endpoint, the ID means a file there."""
    keys = {"key-of-ada": "ada", "key-of-bob": "bob"}
    async with (
        ModelStub() as stub,
        LocalServer(backend=KINDS[kind](stub.url), keys=keys) as server,
        Session(server.url, "key-of-ada") as ada,
        Session(server.url, "key-of-bob") as bob,
    ):
        file = await ada.files.create(GIF, filename="cat.gif", purpose="vision")
        if kind == "chat":
            with pytest.raises(RunFailedError, match=f"The image {file.id} in the message msg_.* no such file"):
                await ask(bob, file.id)
            assert not stub.bodies
        else:
            await ask(bob, file.id)
            assert sent(stub)[1] == {"type": "input_image", "file_id": file.id, "detail": "auto"}
