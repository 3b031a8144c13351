"""A batch beside a server that is killed with ``kill -9`` and started again on the same port and store."""

from collections import Counter
from collections.abc import Callable

from attrs import define, field

from openai_runs import BatchResult, Run, RunJob, Session, Toolbox, TransportError, run_batch
from openai_runs.stores.sqlite import SQLiteStore
from tests.serving import Server


@define
class KilledBatch:
    """Runs ``jobs`` jobs, kills the server ``kills`` times in between, and compares the results with its store.

    Every other job brings its thread, so that a run whose start is in doubt can be found; the others create one.
    """

    server: Server
    jobs: int
    kills: int
    note: Callable[[int], None] = lambda results: None
    results: dict[int, BatchResult] = field(factory=dict)
    counts: Counter[str] = field(factory=Counter)
    defects: list[str] = field(factory=list)
    calls: int = 0  #: of the tool

    async def run(self) -> None:
        self.server.start()
        try:
            # The server takes seconds to start, and this is about what happens when it is killed.
            async with (
                Session(self.server.url, "key", max_retries=20) as patient,
                Session(self.server.url, "key") as session,
            ):
                toolbox = Toolbox()

                @toolbox.tool
                async def look_up(word: str) -> str:
                    """Look a word up."""
                    self.calls += 1
                    return "found"

                assistant = await patient.assistants.create(model="scripted", tools=toolbox.tools)
                jobs = [await self._job(patient, assistant.id, number) for number in range(self.jobs)]
                await self._run_batch(session, jobs, toolbox)
        finally:
            self.server.kill()
        await self._compare()

    async def _job(self, session: Session, assistant_id: str, number: int) -> RunJob:
        job: RunJob = {"assistant_id": assistant_id, "metadata": {"job": str(number)}}
        messages = [{"role": "user", "content": "What is a run?"}]
        if number % 2:
            return {**job, "thread": {"messages": messages}}
        return {**job, "thread_id": (await session.threads.create(messages=messages)).id}

    async def _run_batch(self, session: Session, jobs: list[RunJob], toolbox: Toolbox) -> None:
        kill_at = {self.jobs * (number + 1) // (self.kills + 1) for number in range(self.kills)}
        async with run_batch(session, jobs, workers=16, toolbox=toolbox) as results:
            async for result in results:
                if result.index in self.results:
                    self.defects.append(f"two results for job {result.index}")
                self.results[result.index] = result
                if len(self.results) in kill_at:
                    self.server.kill()
                    self.server.start()
                    self.counts["kills"] += 1
                self.note(len(self.results))

    async def _compare(self) -> None:
        stored: dict[int, list[Run]] = {number: [] for number in range(self.jobs)}
        async with SQLiteStore(self.server.store) as store:
            async for record in store.everything(Run):
                stored[int(record.value.metadata["job"])].append(record.value)
        runs = [run for found in stored.values() for run in found]
        self.counts |= Counter(
            {
                "jobs": self.jobs,
                "results": len(self.results),
                "completed": sum(result.ok for result in self.results.values()),
                "runs on the server": len(runs),
                "calls of the tool": self.calls,
            }
        )
        for number, found in stored.items():
            self._compare_job(number, self.results.get(number), found)
        if self.calls > len(runs):
            self.defects.append(f"the tool was called {self.calls} times by {len(runs)} runs")

    def _compare_job(self, number: int, result: BatchResult | None, found: list[Run]) -> None:
        where = f"job {number}: {[f'{run.id} {run.status}' for run in found]}"
        if len(found) > 1:
            self.defects.append(f"{where}: run twice")
        if result is None:
            self.counts["without a result"] += 1
            self.defects.append(f"{where}: no result")
        elif result.run is not None:
            told = (result.run.id, result.run.status)
            if result.ok and told not in [(run.id, run.status) for run in found]:
                self.defects.append(f"{where}: told {told}")
            if not result.ok:
                self.counts["failed, the run is known"] += 1
        elif isinstance(result.error, TransportError) and result.error.maybe_done:
            self.counts["failed with doubt"] += 1
            self.counts["failed with doubt, and there is a run"] += bool(found)
        else:
            self.counts["failed, nothing was started"] += 1
            if found:
                self.defects.append(f"{where}: {result.error!r} leaves no doubt")
