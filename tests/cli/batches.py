"""What tests of the commands for batches share: an endpoint, files of jobs and results, processes that are stopped."""

import json
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
from attrs import define, field

from openai_runs.backends.scripted import Call, Fail, Say, Wait
from openai_runs.models.run import Run
from openai_runs.models.tool import ToolParam
from openai_runs.stores.memory import MemoryStore
from tests.cli.commands import run


@define
class Endpoint:
    """A server in a thread of its own, so that a command may have the main thread, where signals arrive."""

    portal: anyio.from_thread.BlockingPortal
    gate: anyio.Event  #: until it is set, runs whose message has ``wait`` in it do not end
    waiting: threading.Semaphore = field(factory=lambda: threading.Semaphore(0))  #: released by each that waits
    failure: Fail | Say = field(factory=lambda: Fail("invalid_prompt"))
    asked: Counter[str] = field(factory=Counter)  #: model calls, by the message
    store: MemoryStore = field(factory=MemoryStore)
    server: Any = None

    def turn(self, request: Any) -> Any:
        text = request.items[0].text
        self.asked[text] += 1
        if "wait" in text and not self.gate.is_set():
            self.waiting.release()
            return [Wait(self.gate), Say("Late.")]
        if "look up" in text and not request.rounds:
            return Call("get_weather", {"city": "Oslo"})
        return self.failure if "fail" in text else Say(f"Re: {text}")

    def wait_for_runs(self, count: int) -> None:
        """Return when so many more runs wait."""
        for _ in range(count):
            assert self.waiting.acquire(timeout=20)

    async def add_assistant(self, *functions: str) -> str:
        tools: list[ToolParam] = [{"type": "function", "function": {"name": name}} for name in functions]
        async with self.server.session() as session:
            return (await session.assistants.create(model="m", tools=tools)).id

    def statuses(self) -> Counter[str]:
        """The runs that the server has, by their status."""

        async def count() -> Counter[str]:
            return Counter([record.value.status async for record in self.store.everything(Run)])

        return self.portal.call(count)

    def windows(self) -> Counter[str | None]:
        """The runs that the server has, by their completion window."""

        async def count() -> Counter[str | None]:
            return Counter([record.value.completion_window async for record in self.store.everything(Run)])

        return self.portal.call(count)


@define
class Files:
    """The file of jobs and that of results."""

    jobs: Path
    out: Path

    def write(self, *messages: str) -> None:
        """Write a job for each message."""
        lines = [json.dumps({"key": f"job {number}", "message": text}) for number, text in enumerate(messages)]
        self.jobs.write_text("\n".join(lines))

    def run(self, *options: object, exit_code: int = 0) -> str:
        """Run the command to its end; its output."""
        return run("batch", "run", self.jobs, "--out", self.out, *options, exit_code=exit_code)

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start the command as a process."""
        arguments = ["batch", "run", str(self.jobs), "--out", str(self.out), *options]
        return subprocess.Popen(
            [sys.executable, "-m", "openai_runs", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def results(self) -> dict[str, str | None]:
        """The texts of the results, by their keys; none is there twice. No file has none."""
        if not self.out.exists():
            return {}
        lines = [json.loads(line) for line in self.out.read_bytes().splitlines()]
        found = {line["key"]: line["text"] for line in lines}
        assert len(found) == len(lines)
        return found


def read_until(process: subprocess.Popen[str], text: str) -> None:
    """Read what a process says up to a line with this text."""
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"the process has not said: {text}")
