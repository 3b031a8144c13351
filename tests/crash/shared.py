"""Workers that share a PostgreSQL, and what happens to them: they are killed, stopped, cut off; so is the database.

``python -m tests.crash.shared --repetitions 20``
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import psycopg
from attrs import define, field
from rich.console import Console

from openai_runs import Run
from openai_runs.backends.model_backend import BackendEvent, ModelRequest
from openai_runs.backends.scripted import ScriptedBackend
from openai_runs.batch.durable import DurableBatch, DurableBatches
from openai_runs.models.run_step import RunStep, ToolCalls
from openai_runs.server import LocalServer
from openai_runs.stores import MemoryStore
from tests.crash.durable_worker import noting_toolbox
from tests.crash.wire import Wire
from tests.postgres import Postgres, postgres

KINDS = ("kill", "stop", "cut", "restart", "zombie")


class SlowBackend(ScriptedBackend):
    """Takes some time for each answer."""

    async def respond(self, request: ModelRequest) -> AsyncIterator[BackendEvent]:
        await anyio.sleep(random.uniform(0.2, 1.5))
        async for event in super().respond(request):
            yield event


class CountingStore(MemoryStore):
    """Knows how many runs are active, after each commit."""

    def __init__(self) -> None:
        super().__init__()
        self.active: set[str] = set()
        self.most = 0

    async def commit(self, changes: Sequence[Any]) -> None:
        await super().commit(changes)
        for change in changes:
            run = getattr(change, "value", None)
            if isinstance(run, Run):
                (self.active.discard if run.status.is_terminal else self.active.add)(run.id)
                self.most = max(self.most, len(self.active))


@define
class Trial:
    """One batch under random faults."""

    database: Postgres
    name: str
    folder: Path
    jobs: int
    workers: int
    each: int
    at_once: int
    seed: int
    note: Callable[[str], None]
    counts: Counter[str] = field(factory=Counter)
    faults: list[str] = field(factory=list)
    #: For each workflow of a lost worker: how many seconds after its last sign of life it was taken over, how many
    #: after the last harm done until then, and how often harm was done in between.
    takeovers: list[tuple[float, float, int]] = field(factory=list)
    _harm_began: list[float] = field(factory=list)
    _orphans: dict[str, float] = field(factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(factory=list)
    wires: list[Wire] = field(factory=list)
    chance: random.Random = field(init=False)
    _command: list[str] = field(factory=list)
    _has_ended: bool = False

    async def run(self) -> None:
        self.chance = random.Random(self.seed)
        store = CountingStore()
        self.database.execute(f"CREATE DATABASE {self.name}")
        url = self.database.url(self.name)
        async with (
            LocalServer(backend=SlowBackend(), store=store, max_active_runs=1000) as server,
            server.session() as session,
            DurableBatches.open(url) as batches,
            anyio.create_task_group() as tasks,
        ):
            assistant = await session.assistants.create(model="scripted", tools=noting_toolbox(self._calls))
            for number in range(self.workers):
                folder = self.folder / f"w{number}"
                folder.mkdir(parents=True)
                self.wires.append(wire := Wire(self.database.socket, folder / ".s.PGSQL.5432"))
                tasks.start_soon(wire.serve)
            self._command = [sys.executable, "-m", "tests.crash.shared_worker", server.url, str(self._calls)]
            self._command += ["--workers", str(self.each), "--at-once", str(self.at_once)]
            try:
                self.processes = [self._start(number) for number in range(self.workers)]
                began = time.monotonic()
                batch = await batches.submit(
                    {"assistant_id": assistant.id, "thread": {"messages": [{"role": "user", "content": str(n)}]}}
                    for n in range(self.jobs)
                )
                tasks.start_soon(self._harm, batch)
                tasks.start_soon(self._watch_orphans)
                results = [result async for result in batch.results()]
                self._has_ended = True
                self.counts["seconds"] = int(time.monotonic() - began)
            finally:
                for process in self.processes:
                    process.send_signal(signal.SIGCONT)
                    process.kill()
                    process.wait()
            self.counts["completed results"] = sum(result.ok for result in results)
            self.faults += [f"job {result.index}: {result.error!r}" for result in results if not result.ok]
            await self._audit(store, {result.run.id for result in results if result.run is not None})
            tasks.cancel_scope.cancel()

    @property
    def _calls(self) -> Path:
        return self.folder / "calls.txt"

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        url = f"postgresql://postgres:@/{self.name}?host={self.wires[number].path.parent}"
        command = [*self._command[:3], url, *self._command[3:]]
        with (self.folder / f"worker-{number}.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    async def _harm(self, batch: DurableBatch) -> None:
        """Do one thing after the other, in random order, until the batch is over."""
        while (await batch.progress()).done < self.jobs // 20:  # noqa: ASYNC110  # there is no event
            await anyio.sleep(0.2)
        while not self._has_ended:
            for kind in self.chance.sample(KINDS, len(KINDS)):
                progress = await batch.progress()
                if self._has_ended or progress.done > self.jobs * 0.9:
                    return
                number = self.chance.randrange(self.workers)
                self.note(f"{kind} {number}; {progress.done} done, {progress.running} running; {dict(self.counts)}")
                self.counts[kind] += 1
                await getattr(self, f"_{kind}")(number)
                await anyio.sleep(self.chance.uniform(0, 3))

    async def _watch_orphans(self) -> None:
        """Measure how long workflows have an owner that gives no sign of life, or wait for another one."""
        url = self.database.url(self.name)
        while not self._has_ended:
            await anyio.sleep(0.25)
            try:
                rows = await anyio.to_thread.run_sync(_owners, url)
            except psycopg.Error:  # it is being restarted
                continue
            for workflow_id, age, is_lost in rows:
                if age is None or is_lost or age > 4:  # back in the queue; or two signs of life are missing
                    self._orphans.setdefault(workflow_id, time.monotonic() - (age or 0))
                elif workflow_id in self._orphans:
                    since, now = self._orphans.pop(workflow_id), time.monotonic()
                    harms = sum(began > since for began in self._harm_began)
                    self.takeovers.append((now - since, now - max(since, *self._harm_began), harms))

    async def _kill(self, number: int) -> None:
        self._harm_began.append(time.monotonic())
        self.processes[number].kill()
        self.processes[number].wait()
        await anyio.sleep(self.chance.uniform(0, 4))
        self.processes[number] = self._start(number)

    async def _stop(self, number: int) -> None:
        self._harm_began.append(time.monotonic())
        self.processes[number].send_signal(signal.SIGSTOP)
        await anyio.sleep(15)
        self.processes[number].send_signal(signal.SIGCONT)

    async def _cut(self, number: int) -> None:
        self._harm_began.append(time.monotonic())
        self.wires[number].is_cut = True
        await anyio.sleep(self.chance.uniform(2, 15))
        self.wires[number].is_cut = False

    async def _restart(self, _: int) -> None:
        self._harm_began.append(time.monotonic())
        await anyio.to_thread.run_sync(self.database.restart)

    async def _zombie(self, number: int) -> None:
        """A worker sleeps, others take its jobs over; it wakes, and another one is killed."""
        await self._stop(number)
        other = (number + 1) % self.workers
        await self._kill(other)

    async def _audit(self, store: CountingStore, results: set[str]) -> None:
        runs = [record.value async for record in store.everything(Run)]
        steps = [record.value async for record in store.everything(RunStep)]
        lines = [line.split() for line in self._calls.read_text().splitlines()]
        outputs: dict[str, set[str]] = {}
        for _, run_id, _, output in lines:
            outputs.setdefault(run_id, set()).add(output)
        answered = Counter[str]()
        for step in steps:
            if isinstance(step.step_details, ToolCalls):
                for call in step.step_details.tool_calls:
                    answered[step.run_id] += 1
                    if call.function.output not in outputs.get(step.run_id, ()):
                        self.faults.append(f"{step.run_id} has an output that no tool gave")
        self.counts |= {
            "runs on the server": len(runs),
            "tool calls answered": answered.total(),
            "calls of the tool": len(lines),
            "most active runs": store.most,
            "takeovers": len(self.takeovers),
            # One is what the worker was lost by. More may hit whoever is about to take over.
            "seconds of the slowest takeover": int(
                max((took for took, _, harms in self.takeovers if harms < 2), default=0)
            ),
            "under further harm": int(max((took for took, _, harms in self.takeovers if harms > 1), default=0)),
            "of these since the last harm": int(
                max((last for _, last, harms in self.takeovers if harms > 1), default=0)
            ),
        }
        if {run.id for run in runs} != results:
            self.faults.append("the results have other runs than the server")
        if store.most > self.at_once:
            self.faults.append(f"{store.most} runs were active at once, {self.at_once} are allowed")
        for what in ("completed results", "runs on the server", "tool calls answered"):
            if self.counts[what] != self.jobs:
                self.faults.append(f"{self.counts[what]} {what}")


def _owners(url: str) -> list[tuple[str, float | None, bool]]:
    """Workflows that have begun; how old their owner's last sign of life is, ``None`` if they have none; if it is lost.

    Of a workflow that a lost worker has taken when it woke, the age is counted from then.
    """
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT s.workflow_uuid, CASE WHEN s.status = 'PENDING' THEN extract(epoch FROM clock_timestamp())::float "
            "- greatest(w.beat_at, CASE WHEN w.is_lost THEN s.started_at_epoch_ms / 1000.0 END) END, w.is_lost "
            "FROM dbos.workflow_status s JOIN openai_runs_workers w USING (executor_id) "
            "WHERE s.status IN ('PENDING', 'ENQUEUED')"
        )
        return [(row[0], row[1], row[2]) for row in rows.fetchall()]


@contextmanager
def _in_folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="sh-") as folder:
        yield Path(folder)


async def repeat(options: argparse.Namespace, note: Callable[[str], None], show: Callable[..., None]) -> int:
    faults = 0
    with postgres() as database:
        for seed in range(options.seed, options.seed + options.repetitions):
            with _in_folder(options.keep and options.keep / str(seed)) as folder:
                workers = options.workers or (2, 4)[seed % 2]
                trial = Trial(
                    database, f"trial_{seed}", folder, options.jobs, workers, options.each, options.at_once, seed, note
                )
                await trial.run()
            show(f"seed {seed}, {workers} workers: {dict(trial.counts)}", *trial.faults[:10], sep="\n")
            faults += len(trial.faults)
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.shared", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--workers", type=int, help="processes; by default 2 and 4 by turns")
    parser.add_argument("--each", type=int, default=40, help="jobs that each process runs at once")
    parser.add_argument("--at-once", type=int, default=40, help="jobs that all processes together run at once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a folder in which the workers' logs stay; a short path")
    options = parser.parse_args()
    console = Console(width=200)
    with console.status("starting") as status:
        note = status.update if os.isatty(1) else console.print
        faults = anyio.run(repeat, options, note, console.print)
    raise SystemExit(f"{faults} faults" if faults else 0)


if __name__ == "__main__":
    main()
