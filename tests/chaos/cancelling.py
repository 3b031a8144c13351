"""Cancels an operation at each point where it waits, one attempt a point, and says what went wrong."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

import anyio
import anyio.lowlevel
from attrs import define, field, frozen

from openai_runs.models.run import Run
from openai_runs.server import LocalServer
from openai_runs.session import Session
from openai_runs.stores import MemoryStore
from tests.chaos.lifecycles import AT_ONCE
from tests.chaos.operations import ENDLESS, Operation, Scene, backend
from tests.chaos.watching import Watch, watching
from tests.engine.index import WordIndex
from tests.proxy import Proxy
from tests.weather import QUICK, WEATHER

#: How to cancel: by a scope of anyio's; by the task's own method while it waits; by that method just as the wait is
#: over, when the result of the wait is there and lost; by that method, and once more where the task waits next, as who
#: presses Ctrl-C twice does.
WAYS: Final = ("scope", "task", "late", "twice")

#: Attempts at one point, since how often an operation waits may differ between two attempts.
_ATTEMPTS: Final = 20


@define
class Findings:
    """What became of an operation that was cancelled in one way."""

    points: int = 0  #: at which it waits
    chosen: set[int] = field(factory=set)  #: at which it was to be cancelled
    hit: set[int] = field(factory=set)  #: at which it was
    problems: list[str] = field(factory=list)


@frozen
class Cancelling:
    """A server, and an operation's attempts beside it."""

    server: LocalServer
    store: MemoryStore
    direct: Session
    assistant_id: str

    async def find(
        self, operation: Operation, way: str, first: int = 1, step: int = 1, *, one_problem: bool = False
    ) -> Findings:
        """Cancel at each point, or at every so many of them; at most until there is a problem."""
        findings = Findings()
        findings.points = await self._attempt(operation, way, None, findings)
        findings.chosen = set(range(first, findings.points + 1, step))
        for point in sorted(findings.chosen):
            reached = 0
            for _ in range(_ATTEMPTS):
                reached = max(reached, await self._attempt(operation, way, point, findings))
                if point in findings.hit:
                    break
            if reached < point:  # how often it polls depends on the time, and only the first attempt polled so often
                findings.chosen.remove(point)
            if findings.problems and one_problem:
                break
        return findings

    async def _attempt(self, operation: Operation, way: str, point: int | None, findings: Findings) -> int:
        """Make one attempt; the number of points at which it waited."""
        known = {record.value.id async for record in self.store.everything(Run)}
        async with Proxy(self.server.url) as proxy, proxy.session() as session:
            scene = Scene(self.direct, session, proxy, self.assistant_id)
            work = await operation.ready(scene)
            problems = _Problems(f"{operation.name}, on_exit={operation.on_exit}, {way} at {point}", findings.problems)
            attempt = _Attempt(way, point)
            watch = Watch(attempt.at_point)
            with watching(watch):
                attempt.task = asyncio.create_task(attempt.run(work))
                await asyncio.wait([attempt.task])
            if attempt.was_cancelled:
                findings.hit.add(point)
            problems.add(attempt.problem())
            problems.add((left := await watch.left()) and f"tasks left: {left}")
            http = session._transport._sender._connections.http
            problems.add(http.connector._acquired and f"connections left: {http.connector._acquired}")
            problems.add(scene.toolbox._running and "a tool call is left in progress")
            problems.add(scene.toolbox._limiter.borrowed_tokens and "a toolbox's slot is left taken")
            await proxy.heal()
            try:
                await session.assistants.retrieve(self.assistant_id)
            except Exception as error:
                problems.add(f"the next request failed: {error!r}")
        if operation.on_exit == "cancel":
            problems.add(await self._unfinished(known))
        return watch.points

    async def _unfinished(self, known: set[str]) -> str | None:
        """The new runs that somebody would have to finish."""
        new = [record.value async for record in self.store.everything(Run) if record.value.id not in known]
        for run in new:
            waits_for_ever = {"requires_action", "in_progress" if run.metadata.get("text") == ENDLESS else ""}
            async with aclosing(self.direct.runs.follow(run, polling=QUICK)) as events:
                async for event in events:
                    if event.status in waits_for_ever:
                        await self.direct.runs.cancel(event.run)
                        return f"run left {event.status}"
        return None


@asynccontextmanager
async def cancelling() -> AsyncIterator[Cancelling]:
    store = MemoryStore()
    server = LocalServer(backend=backend(), store=store, files=WordIndex(), max_active_runs=100_000, poll_hint=AT_ONCE)
    async with server, server.session() as direct:
        assistant = await direct.assistants.create(model="scripted", tools=[WEATHER])
        yield Cancelling(server, store, direct, assistant.id)


@frozen
class _Problems:
    where: str
    found: list[str]

    def add(self, problem: Any) -> None:
        if problem:
            self.found.append(f"{self.where}: {problem}")


@define
class _Attempt:
    """An operation in a task of its own, and its cancellation."""

    way: str
    point: int | None
    task: "asyncio.Task[Any]" = field(init=False)
    was_cancelled: bool = False
    was_cancelled_again: bool = False
    scope: anyio.CancelScope = field(factory=anyio.CancelScope)

    async def run(self, work: Callable[[], Any]) -> None:
        with self.scope:
            await work()
            await anyio.lowlevel.checkpoint()  # what is shielded to its end is cancelled at the next one

    def at_point(self, number: int, awaited: Any) -> None:
        if self.way == "twice" and self.was_cancelled and not self.was_cancelled_again:
            self.was_cancelled_again = self.task.cancel()
        if number != self.point:
            return
        if self.way == "scope":
            self.was_cancelled = True
            self.scope.cancel()
        elif self.way == "late" and asyncio.isfuture(awaited) and not awaited.done():
            awaited.add_done_callback(self._cancel_task)
        else:
            self._cancel_task()

    def _cancel_task(self, _: Any = None) -> None:
        self.was_cancelled = self.task.cancel()

    def problem(self) -> str | None:
        """What was wrong with the operation's end."""
        error = None if self.task.cancelled() else self.task.exception()
        if error is not None:
            return f"raised {error!r}"
        if not self.was_cancelled:
            return None
        if self.way == "scope":
            return None if self.scope.cancelled_caught else "the cancellation was lost"
        return None if self.task.cancelled() else "the cancellation was lost"
