"""`session.threads`: each operation, each parameter."""

import pytest

from openai_runs.errors import NotFoundError
from openai_runs.models.assistant import Assistant
from openai_runs.models.thread import Thread
from openai_runs.models.tool import TextFormat
from openai_runs.session import Session
from tests.weather import QUICK, WEATHER

pytestmark = pytest.mark.anyio


async def test_create(session: Session) -> None:
    """Empty, or with messages, files and metadata."""
    empty = await session.threads.create()
    assert (empty.id[:7], empty.metadata) == ("thread_", {})
    made = await session.threads.create(
        messages=[
            {"role": "user", "content": "hello", "metadata": {"n": "1"}, "attachments": None},
            {"role": "assistant", "content": [{"type": "text", "text": "hi"}]},
        ],
        tool_resources={"code_interpreter": {"file_ids": ["file_1"]}},
        metadata={"k": "v"},
    )
    assert made.metadata == {"k": "v"}
    assert made.tool_resources.code_interpreter.file_ids == ("file_1",)
    assert [message.text async for message in session.messages.list(made.id, order="asc")] == ["hello", "hi"]
    assert await session.threads.retrieve(made.id) == made


async def test_update(session: Session, thread: Thread) -> None:
    """Metadata and files change; what is left out stays."""
    changed = await session.threads.update(
        thread.id, metadata={"a": "b"}, tool_resources={"file_search": {"vector_store_ids": ["vs_1"]}}
    )
    assert (changed.metadata, changed.tool_resources.file_search.vector_store_ids) == ({"a": "b"}, ("vs_1",))
    again = await session.threads.update(thread.id, tool_resources=None)
    assert again.metadata == {"a": "b"}


async def test_delete(session: Session, thread: Thread) -> None:
    """Deleting a thread deletes everything in it."""
    word = await session.threads.delete(thread.id)
    assert (word.id, word.object, word.deleted) == (thread.id, "thread.deleted", True)
    with pytest.raises(NotFoundError):
        await session.threads.retrieve(thread.id)
    with pytest.raises(NotFoundError):
        await session.messages.list(thread.id).page()


async def test_create_and_run(session: Session, assistant: Assistant) -> None:
    """One request creates the thread and its run, with every parameter of both."""
    run = await session.threads.create_and_run(
        assistant_id=assistant.id,
        thread={"messages": [{"role": "user", "content": "hello"}], "metadata": {"t": "1"}},
        model="other",
        instructions="Be brief.",
        tools=[WEATHER],
        tool_resources={"code_interpreter": {"file_ids": ["file_1"]}},
        metadata={"r": "1"},
        temperature=0.1,
        top_p=0.2,
        max_prompt_tokens=1000,
        max_completion_tokens=2000,
        truncation_strategy={"type": "last_messages", "last_messages": 3},
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        parallel_tool_calls=False,
        response_format=TextFormat(),
    )
    assert (run.model, run.instructions, run.metadata) == ("other", "Be brief.", {"r": "1"})
    assert (run.temperature, run.top_p, run.max_prompt_tokens, run.max_completion_tokens) == (0.1, 0.2, 1000, 2000)
    assert (run.truncation_strategy.type, run.truncation_strategy.last_messages) == ("last_messages", 3)
    assert (run.tool_choice.function.name, run.parallel_tool_calls) == ("get_weather", False)
    assert run.response_format.type == "text"
    assert (await session.threads.retrieve(run.thread_id)).metadata == {"t": "1"}
    async for event in session.runs.follow(run, polling=QUICK):
        if event.status == "requires_action":
            break
    assert [message.text async for message in session.messages.list(run.thread_id)] == ["hello"]


async def test_create_and_run_on_nothing(session: Session) -> None:
    """If the assistant does not exist, neither run nor thread is created."""
    with pytest.raises(NotFoundError):
        await session.threads.create_and_run(assistant_id="asst_none")


async def test_all_threads(session: Session) -> None:
    """Beyond the API: this library's server lists threads."""
    made = [await session.threads.create(metadata={"n": str(number)}) for number in range(3)]
    assert [found async for found in session.threads.list(limit=2)] == made[::-1]
    assert (await session.threads.list(limit=1, order="asc").page()).data == (made[0],)
