"""A server killed during a model call: after a restart the run completes, with one answer."""

import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from attrs import define

from openai_runs.following.polling import Polling
from openai_runs.session import Session
from tests.backends.model_stub import ModelStub, stream
from tests.backends.streams import chat_answer, responses_answer
from tests.serving import unmeasured

pytestmark = pytest.mark.anyio

QUICK = Polling(first=0.001, longest=0.01)


@define
class Servers:
    """The process that forks servers."""

    process: Process
    lines: BufferedByteReceiveStream

    async def ask(self, line: Any) -> str:
        """Write a line, and read the answer."""
        await self.process.stdin.send(json.dumps(line).encode() + b"\n")
        return (await self.lines.receive_until(b"\n", 1000)).decode()

    @asynccontextmanager
    async def one(self, kind: str, stub: ModelStub, store: Path) -> AsyncGenerator[Session]:
        """A server, which is killed at the block's end."""
        pid, url = (await self.ask([kind, stub.url, str(store), unmeasured()])).split()
        async with Session(url, "none") as session:
            try:
                yield session
            finally:
                await self.ask(int(pid))


@pytest.fixture(scope="module")
async def servers(anyio_backend: str) -> AsyncIterator[Servers]:
    command = [sys.executable, "-m", "tests.backends.serving"]
    async with await anyio.open_process(command, stderr=None, env=unmeasured()) as process:
        yield Servers(process, BufferedByteReceiveStream(process.stdout))
        await process.stdin.aclose()
        await process.wait()


@pytest.mark.parametrize("kind", ["chat", "responses", "background", "local"])
@pytest.mark.parametrize("so_far", [1, 4])
async def test_killed_during_a_model_call(
    kind: str, so_far: int, servers: Servers, tmp_path: Path, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = chat_answer("Hello there") if kind in ("chat", "local") else responses_answer("Hello there")
    stub = ModelStub(stream(whole[:so_far], end="hang"))
    async with stub:
        monkeypatch.setenv("STUB", stub.url.removesuffix("/v1"))
        async with servers.one(kind, stub, tmp_path / "runs.db") as session:
            assistant = await session.assistants.create(model="gpt-4o")
            thread = await session.threads.create(messages=[{"role": "user", "content": "Hello"}])
            run = await session.runs.create(thread.id, assistant_id=assistant.id)
            await stub.http.requested(1)
        stub.replies.append(stream(whole))
        async with servers.one(kind, stub, tmp_path / "runs.db") as session:
            run = await session.runs.complete(run, polling=QUICK, deadline=30)
            messages = [message async for message in session.messages.list(thread.id, order="asc")]
            steps = [step async for step in session.run_steps.list(thread_id=thread.id, run_id=run.id)]
    assert [(message.text, message.status) for message in messages[1:]] == [("Hello there", "completed")]
    assert len(steps) == 1
