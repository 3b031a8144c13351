"""A server killed during a model call: after a restart the run completes, with one answer."""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from openai_runs.following.polling import Polling
from openai_runs.session import Session
from tests.backends.model_stub import ModelStub, stream
from tests.backends.streams import chat_answer, responses_answer
from tests.serving import unmeasured

pytestmark = pytest.mark.anyio

QUICK = Polling(first=0.001, longest=0.01)


@asynccontextmanager
async def served(kind: str, stub: ModelStub, store: Path) -> AsyncGenerator[tuple[Session, Process]]:
    command = [sys.executable, "-m", "tests.backends.serving", kind, stub.url, str(store)]
    async with await anyio.open_process(command, stderr=None, env=unmeasured()) as process:
        try:
            assert process.stdout is not None
            url = (await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 1000)).decode().strip()
            async with Session(url, "none") as session:
                yield session, process
        finally:
            with suppress(ProcessLookupError):  # the test has done it
                process.kill()


@pytest.mark.parametrize("kind", ["chat", "responses", "background", "local"])
@pytest.mark.parametrize("so_far", [1, 4])
async def test_killed_during_a_model_call(
    kind: str, so_far: int, tmp_path: Path, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = chat_answer("Hello there") if kind in ("chat", "local") else responses_answer("Hello there")
    stub = ModelStub(stream(whole[:so_far], end="hang"))
    async with stub:
        monkeypatch.setenv("STUB", stub.url.removesuffix("/v1"))
        async with served(kind, stub, tmp_path / "runs.db") as (session, process):
            assistant = await session.assistants.create(model="gpt-4o")
            thread = await session.threads.create(messages=[{"role": "user", "content": "Hello"}])
            run = await session.runs.create(thread.id, assistant_id=assistant.id)
            await stub.http.requested(1)
            process.kill()
        stub.replies.append(stream(whole))
        async with served(kind, stub, tmp_path / "runs.db") as (session, _):
            run = await session.runs.complete(run, polling=QUICK, deadline=30)
            messages = [message async for message in session.messages.list(thread.id, order="asc")]
            steps = [step async for step in session.run_steps.list(thread_id=thread.id, run_id=run.id)]
    assert [(message.text, message.status) for message in messages[1:]] == [("Hello there", "completed")]
    assert len(steps) == 1
