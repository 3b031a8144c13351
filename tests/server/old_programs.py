"""Programs of years ago on the client library of their time; not collected by default, `nox -s old_programs` runs them.

The library and what it needs are in a folder of their own, ``OLD_CLIENT``: its versions are not ours.
"""

import json
import os
import sys
from pathlib import Path

import anyio
import pytest
from openai import AsyncOpenAI

from openai_runs.server import LocalServer

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::DeprecationWarning")]  # OpenAI's own

PROGRAM = str(Path(__file__).parent / "programs/of_2023.py")
SEARCH, CODE = {"type": "file_search"}, {"type": "code_interpreter"}


async def program(server, *arguments):
    """Run the program, and return what it prints."""
    environment = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "k", "PYTHONPATH": os.environ["OLD_CLIENT"]}
    done = await anyio.run_process([sys.executable, PROGRAM, *arguments], check=False, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


async def test_of_2023(anyio_backend):
    """It runs unchanged, and a program of today reads and changes what it has made; it understands that in turn."""
    async with LocalServer() as server, AsyncOpenAI(base_url=server.url, api_key="k") as client:
        told = await program(server, "ask")
        assert told["answer"] == ["The canteen opens at half past eleven. [0]", "[0]  from notes.txt"]
        assert (told["tools"], told["calls"]) == (["ToolAssistantToolsRetrieval"], ["RetrievalToolCall"])
        kettle, canteen = told["files"]
        assistant = await client.beta.assistants.retrieve(told["assistant"])
        assert [tool.type for tool in assistant.tools] == ["file_search"]
        [store_id] = assistant.tool_resources.file_search.vector_store_ids
        assert [file.id async for file in client.vector_stores.files.list(store_id)] == [kettle]
        messages = [message async for message in client.beta.threads.messages.list(told["thread"], order="asc")]
        assert messages[0].attachments[0].file_id == canteen
        assert await program(server, "change", assistant.id, canteen) == [canteen]
        assistant = await client.beta.assistants.retrieve(assistant.id)
        assert assistant.tool_resources.code_interpreter.file_ids == [canteen]


async def test_made_by_a_program_of_today(anyio_backend):
    """A program of 2023 reads it in its own shapes."""
    async with LocalServer() as server, AsyncOpenAI(base_url=server.url, api_key="k") as client:
        file = await client.files.create(file=("kettle.txt", b"The kettle holds 1.7 litres."), purpose="assistants")
        assistant = await client.beta.assistants.create(
            model="gpt-4o",
            tools=[SEARCH, CODE],
            tool_resources={"file_search": {"vector_stores": [{"file_ids": [file.id]}]}},
        )
        question = {"role": "user", "content": "How many litres does the kettle hold?"}
        thread = await client.beta.threads.create(
            messages=[{**question, "attachments": [{"file_id": file.id, "tools": [SEARCH]}]}]
        )
        run = await client.beta.threads.runs.create_and_poll(
            thread_id=thread.id, assistant_id=assistant.id, tools=[SEARCH], poll_interval_ms=20
        )
        assert run.status == "completed"
        assert await program(server, "read", assistant.id, thread.id) == {
            "tools": ["retrieval", "code_interpreter"],
            "files": [[file.id]] * 3,
            "quotes": [""],
        }
