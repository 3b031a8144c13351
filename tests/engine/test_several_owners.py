"""Where much of one owner's work goes on at the same moment, another owner's comes in between: by order, not time."""

from collections.abc import AsyncGenerator, Callable

import anyio
import anyio.lowlevel
import pytest
from attrs import define, field

from openai_runs.backends.model_backend import BackendEvent, Finished, ModelBackend, ModelRequest, TextChunk
from openai_runs.engine import Engine, ManualClock
from openai_runs.models.run import Run
from openai_runs.stores import MemoryStore
from openai_runs.stores.worked_for import work_for

pytestmark = pytest.mark.anyio

OWNERS = ["loud"] * 20 + ["quiet"]


@define
class Order:
    """What waits until it is released, and in which order it goes on."""

    may_go_on: anyio.Event = field(factory=anyio.Event)
    waiting: list[str] = field(factory=list)
    went_on: list[str] = field(factory=list)

    async def wait(self, owner: str) -> None:
        self.waiting.append(owner)
        await self.may_go_on.wait()

    async def until_wait(self, number: int) -> None:
        with anyio.fail_after(20):
            while len(self.waiting) < number:
                await anyio.lowlevel.checkpoint()


class Model(ModelBackend):
    """Answers all requests at the same moment; whose they are is in the instructions."""

    def __init__(self, order: Order) -> None:
        self.order = order

    async def respond(self, request: ModelRequest) -> AsyncGenerator[BackendEvent]:
        await self.order.wait(request.instructions)
        yield TextChunk("Hello")
        self.order.went_on.append(request.instructions)
        yield Finished("stop")


class Answering(ModelBackend):
    async def respond(self, request: ModelRequest) -> AsyncGenerator[BackendEvent]:
        yield TextChunk("Hello")
        yield Finished("stop")


class Grouping(MemoryStore):
    """Commits all runs at the same moment."""

    def __init__(self, order: Order) -> None:
        super().__init__()
        self.order = order

    async def commit(self, changes) -> None:
        if len(self.order.waiting) < len(OWNERS) and any(isinstance(getattr(c, "value", None), Run) for c in changes):
            await self.order.wait(changes[0].owner)
        await super().commit(changes)


async def execute_all(
    store: MemoryStore,
    backend: ModelBackend,
    order: Order,
    on_started: Callable[[str], object],
    *,
    several: bool = True,
) -> None:
    """Have the runs executed that wait together, the quiet owner's as the last one; then they go on."""
    runs: list[Run] = []
    async with Engine(store=store, backend=backend, clock=ManualClock()) as engine, anyio.create_task_group() as tasks:
        engine.has_several_owners = several

        async def start(owner: str) -> None:
            work_for(owner if several else "")
            assistant = await engine.assistants.create(owner, {"model": "m", "instructions": owner})
            runs.append(await engine.threads.create_and_run(owner, {"assistant_id": assistant.id}))
            on_started(owner)

        for number, owner in enumerate(OWNERS, 1):
            tasks.start_soon(start, owner)
            await order.until_wait(number)
        assert order.waiting == OWNERS
        order.may_go_on.set()
        with anyio.fail_after(20):
            while len(runs) < len(OWNERS):
                await anyio.lowlevel.checkpoint()
            for run in runs:
                while (await engine.runs.retrieve(run.instructions, run.thread_id, run.id)).status != "completed":
                    await anyio.lowlevel.checkpoint()


async def test_models_that_answer_at_once():
    """Another owner's answer is taken before nearly all of those that came with it, and before it."""
    order = Order()
    await execute_all(MemoryStore(), Model(order), order, lambda _: None)
    assert sorted(order.went_on) == OWNERS
    assert order.went_on.index("quiet") <= 2


async def test_commits_that_end_at_once():
    """Another owner's request is answered before nearly all of those whose commits have ended with its own."""
    order = Order()
    await execute_all(Grouping(order), Answering(), order, order.went_on.append)
    assert sorted(order.went_on) == OWNERS
    assert order.went_on.index("quiet") <= 2


async def test_one_owner_goes_on_at_once():
    """Where there are not several, nothing waits for a turn: all go on in the order in which they came."""
    order = Order()
    await execute_all(MemoryStore(), Model(order), order, lambda _: None, several=False)
    assert order.went_on == OWNERS
