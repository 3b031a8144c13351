"""`session.messages`: each operation, each parameter."""

import pytest

from openai_runs.errors import BadRequestError, NotFoundError
from openai_runs.models.assistant import Assistant
from openai_runs.models.message import Attachment, ImageFile, ImageFileContent, ImageUrl, ImageUrlContent
from openai_runs.models.thread import Thread
from openai_runs.models.tool import CodeInterpreterTool
from openai_runs.session import Session
from openai_runs.toolbox import Toolbox
from tests.weather import QUICK

pytestmark = pytest.mark.anyio


async def test_create_with_everything(session: Session, thread: Thread) -> None:
    """Text and images, as dicts or as models; attachments; metadata."""
    made = await session.messages.create(
        thread.id,
        role="user",
        content=[
            {"type": "text", "text": "look: "},
            ImageUrlContent(image_url=ImageUrl(url="https://host/cat.png", detail="low")),
            {"type": "image_url", "image_url": {"url": "https://host/dog.png"}},
            ImageFileContent(image_file=ImageFile(file_id="file_1")),
            {"type": "text", "text": "cats"},
        ],
        attachments=[
            {"file_id": "file_2", "tools": [{"type": "file_search"}]},
            Attachment(file_id="file_3", tools=(CodeInterpreterTool(),)),
        ],
        metadata={"k": "v"},
    )
    assert made.text == "look: cats"
    assert [part.type for part in made.content] == ["text", "image_url", "image_url", "image_file", "text"]
    assert made.content[1].image_url.detail == "low"
    assert [attachment.file_id for attachment in made.attachments] == ["file_2", "file_3"]
    assert made.attachments[1].tools[0].type == "code_interpreter"
    assert (made.role, made.metadata, made.thread_id) == ("user", {"k": "v"}, thread.id)
    assert await session.messages.retrieve(thread_id=thread.id, message_id=made.id) == made


async def test_update(session: Session, thread: Thread) -> None:
    """Metadata is what can be changed."""
    made = await session.messages.create(thread.id, role="assistant", content="hi")
    changed = await session.messages.update(thread_id=thread.id, message_id=made.id, metadata={"a": "b"})
    assert (changed.metadata, changed.text, changed.role) == ({"a": "b"}, "hi", "assistant")


async def test_list(session: Session, assistant: Assistant, thread: Thread, toolbox: Toolbox) -> None:
    """By run, in either order, page by page."""
    run = await session.runs.complete(
        await session.runs.create(thread.id, assistant_id=assistant.id), toolbox=toolbox, polling=QUICK
    )
    more = [(await session.messages.create(thread.id, role="user", content=str(n))).id for n in range(3)]
    (answer,) = [message async for message in session.messages.list(thread.id, run_id=run.id)]
    assert (answer.run_id, answer.assistant_id, answer.role) == (run.id, assistant.id, "assistant")
    newest_first = [message.id async for message in session.messages.list(thread.id, limit=2)]
    assert newest_first[:4] == [*more[::-1], answer.id]
    oldest_first = [message.id async for message in session.messages.list(thread.id, limit=1, order="asc")]
    assert oldest_first == newest_first[::-1]
    page = await session.messages.list(thread.id, after=more[2], before=more[0]).page()
    assert [message.id for message in page.data] == [more[1]]


async def test_delete(session: Session, thread: Thread) -> None:
    """Deleting a message keeps the thread."""
    made = await session.messages.create(thread.id, role="user", content="oops")
    word = await session.messages.delete(thread_id=thread.id, message_id=made.id)
    assert (word.id, word.object, word.deleted) == (made.id, "thread.message.deleted", True)
    with pytest.raises(NotFoundError):
        await session.messages.retrieve(thread_id=thread.id, message_id=made.id)
    assert len([message async for message in session.messages.list(thread.id)]) == 1


async def test_a_locked_thread(session: Session, assistant: Assistant, thread: Thread) -> None:
    """While a run is active no message can be added; the error names the run."""
    run = await session.runs.create(thread.id, assistant_id=assistant.id)
    with pytest.raises(BadRequestError, match=f"while a run {run.id} is active"):
        await session.messages.create(thread.id, role="user", content="wait")
