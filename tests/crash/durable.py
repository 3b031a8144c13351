"""A program with a durable batch that is killed again and again; then an auditor compares store, server and tool.

``python -m tests.crash.durable --jobs 2000 --kills 20``
"""

import argparse
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import anyio
from attrs import define, field
from rich.console import Console

from openai_runs import Run, RunStep, Session
from openai_runs.batch.durable import DurableBatches
from openai_runs.models.run_step import ToolCalls
from openai_runs.stores.sqlite import SQLiteStore
from tests.crash.durable_worker import noting_toolbox
from tests.serving import Server


@define
class KilledProgram:
    """Kills the program ``kills`` times at random moments of a batch of ``jobs``, and lets it end."""

    folder: Path
    jobs: int
    kills: int
    seed: int
    note: Callable[[str], None] = lambda text: None
    counts: Counter[str] = field(factory=Counter)
    faults: list[str] = field(factory=list)

    @property
    def store(self) -> Path:
        return self.folder / "batches.db"

    @property
    def calls(self) -> Path:
        return self.folder / "calls.txt"

    async def run(self) -> None:
        server = Server(self.folder / "runs.db")
        server.start()
        try:
            async with Session(server.url, "key", max_retries=40) as session:
                tools = noting_toolbox(self.calls)
                assistant = await session.assistants.create(model="scripted", tools=tools)
            command = [sys.executable, "-m", "tests.crash.durable_worker", str(self.store), server.url, assistant.id]
            await self._kill_often([*command, str(self.calls), "--jobs", str(self.jobs)])
        finally:
            server.kill()
        await self._audit(server.store)

    async def _kill_often(self, command: list[str]) -> None:
        chance = random.Random(self.seed)
        # Some moments are before the batch is submitted: then it is the start that is killed.
        moments = sorted(chance.sample(range(-self.jobs // 20, self.jobs * 19 // 20), self.kills))
        async with DurableBatches.open(self.store) as batches:
            for moment in moments:
                program = _start(command)
                while await self._done(batches) < moment:
                    assert program.poll() is None, f"the program ended by itself: {program.returncode}"
                    await anyio.sleep(0.02)
                await anyio.sleep(chance.uniform(0, 2.5 if moment < 0 else 0.3))
                program.kill()
                program.wait()
                self.counts["kills"] += 1
                self.note(f"killed {self.counts['kills']} times, {await self._done(batches)} jobs are done")
            program = await anyio.run_process(command, check=True)
            if program.stdout.split() != [str(self.jobs).encode()] * 2:
                self.faults.append(f"the program has read {program.stdout!r}")

    async def _done(self, batches: DurableBatches) -> int:
        try:
            batch = await batches.find("killed")
        except LookupError:
            return 0
        return (await batch.progress()).done

    async def _audit(self, store: Path) -> None:
        """Each job has a result; it has one run; and that has the output of the latest call of the tool."""
        results: dict[int, Run] = {}
        async with DurableBatches.open(self.store) as batches:
            async for result in (await batches.find("killed")).results():
                if not result.ok or result.run is None:
                    self.faults.append(f"job {result.index}: {result.error!r}")
                    continue
                results[result.index] = result.run
        lines = [line.split() for line in self.calls.read_text().splitlines()]
        outputs = {run_id: output for _, run_id, _, output in lines}  # the latest of each
        calls_of = {run_id: set[str]() for run_id in outputs}
        for _, run_id, key, _ in lines:
            calls_of[run_id].add(key)
        async with SQLiteStore(store) as server:
            runs = {record.value.id: record.value async for record in server.everything(Run)}
            steps = [record.value async for record in server.everything(RunStep)]
        called = Counter[str]()
        for step in steps:
            if isinstance(step.step_details, ToolCalls):
                for call in step.step_details.tool_calls:
                    called[step.run_id] += 1
                    if call.function.output != outputs.get(step.run_id):
                        self.faults.append(f"{step.run_id} has {call.function.output}, not {outputs.get(step.run_id)}")
        self.counts |= Counter(
            {
                "jobs": self.jobs,
                "completed results": len(results),
                "runs on the server": len(runs),
                "tool calls answered": called.total(),
                "calls of the tool": len(lines),
                "of these, other calls": sum(map(len, calls_of.values())),
            }
        )
        expected = {"completed results", "runs on the server", "tool calls answered", "of these, other calls"}
        self.faults += [f"{self.counts[what]} {what}" for what in sorted(expected) if self.counts[what] != self.jobs]
        if {run.id for run in results.values()} != runs.keys():
            self.faults.append("the results have other runs than the server")


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.durable", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as folder, console.status("starting") as status:
        program = KilledProgram(Path(folder), options.jobs, options.kills, options.seed, status.update)
        anyio.run(program.run)
    console.print(dict(program.counts), *program.faults[:20], sep="\n")
    raise SystemExit(f"{len(program.faults)} faults" if program.faults else 0)


if __name__ == "__main__":
    main()
