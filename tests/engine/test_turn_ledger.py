"""`TurnLedger`: what a turn decides while nobody waits is one commit, and is told after it."""

from collections.abc import Sequence
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from openai_runs.backends import Call, Say, Wait
from openai_runs.backends.model_backend import Detached, TextChunk
from openai_runs.engine import ManualClock
from openai_runs.engine.ingestion import Ingestion
from openai_runs.engine.turn_ledger import TurnLedger
from openai_runs.errors import StoreUnavailableError
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.run_step import RunStep
from openai_runs.stores import MemoryStore
from openai_runs.stores.records import Change, Delete, RunState
from tests.engine.world import BEGIN, CALLS, MESSAGE, MESSAGE_END, WEATHER, World, YieldingBackend, world

pytestmark = pytest.mark.anyio


class Noting(MemoryStore):
    """Notes the kinds of objects in each commit, and refuses some."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[list[str]] = []
        self.refused = 0

    async def commit(self, changes: Sequence[Change]) -> None:
        if self.refused:
            self.refused -= 1
            raise StoreUnavailableError("not now")
        self.commits.append(
            [f"-{c.kind.__name__}" if isinstance(c, Delete) else type(c.value).__name__ for c in changes]
        )
        await super().commit(changes)


def again() -> Wait:
    """A wait that ends at once: the model is slow, but not very."""
    event = anyio.Event()
    event.set()
    return Wait(event)


@pytest.mark.parametrize(
    ("script", "commits", "names"),
    [
        (
            [Say("It is sunny.")],
            [["Run", "RunStep", "Message", "-RunState"]],
            [*MESSAGE, *MESSAGE_END, "run.completed"],
        ),
        (
            [again(), Say("It is"), again(), Say(" sunny.")],
            [["Run"], ["RunState", "RunStep", "Message"], ["Message", "RunStep", "Run", "-RunState"]],
            [*MESSAGE, *MESSAGE_END, "run.completed"],
        ),
        (
            [Say("Let me look."), Call("get_weather")],
            [["Run", "RunState", "RunStep", "Message", "RunStep"]],
            [*MESSAGE, *MESSAGE_END, *CALLS, "run.requires_action"],
        ),
        (
            [again(), Say("Let me look."), again(), Call("get_weather"), again()],
            [
                ["Run"],
                ["RunState", "RunStep", "Message"],
                ["Message", "RunStep", "RunStep", "RunState"],
                ["RunStep", "Run", "RunState"],
            ],
            [*MESSAGE, *MESSAGE_END, *CALLS, "run.requires_action"],
        ),
        (
            [Call("get_weather"), again(), Say("Or rather:"), again(), Call("get_weather")],
            [
                ["Run", "RunState", "RunStep"],
                ["RunState", "RunStep", "Message"],
                ["Message", "RunStep"],
                ["RunStep", "Run", "RunState"],
            ],
            [*CALLS, *MESSAGE, *MESSAGE_END, "run.requires_action"],
        ),
    ],
    ids=["text", "slow text", "call", "slow call", "second call"],
)
async def test_what_is_decided_without_a_wait_is_one_commit(
    script: Any, commits: list[list[str]], names: list[str]
) -> None:
    """Each wait of the model ends a commit, so that nobody waits for what is known; the events are always the same."""
    store = Noting()
    async with world([script], store=store) as w:
        run = await w.start("How is the weather?", tools=[WEATHER])
        before = len(store.commits)
        await w.until(names[-1], run)
        assert [sorted(each) for each in store.commits[before:]] == [sorted(each) for each in commits]
        assert w.names(run.id) == [*BEGIN, *names]
        assert "".join(w.said(run.id)) == "".join(part.text for part in script if isinstance(part, Say))


async def test_what_was_never_told_leaves_nothing() -> None:
    """A backend with a bug that ends the run before anybody has heard of its answer: there is no trace of that."""
    async with world(YieldingBackend(TextChunk("Well"), _break)) as w:
        run = await w.start("Hello")
        await w.until("run.failed", run)
        assert w.names(run.id) == ["run.created", "run.queued", "run.failed"]
        assert await w.steps(run) == ()
        assert [message.role for message in await w.messages(run)] == ["user"]


async def _break() -> None:
    raise BaseException("not even an Exception")  # noqa: TRY002  # this is what is tested


async def test_a_store_that_is_away_for_a_while() -> None:
    """What is held is stored when the store is back, once, and told then."""
    store = Noting()
    async with world([[Say("It is"), Wait()]], store=store) as w:
        run = await _started_while_away(w, store)
        w.clock.advance(2)
        await w.until("message.in_progress", run)
        assert w.names(run.id) == [*BEGIN, *MESSAGE]
        assert w.said(run.id) == ["It", " is"]
        assert len(await w.steps(run)) == 1
        await w.engine.runs.cancel("", run.thread_id, run.id)
        await w.until("run.cancelled", run)


async def test_a_run_that_is_cancelled_while_the_store_is_away() -> None:
    """What was held is dropped with the turn."""
    store = Noting()
    async with world([[Say("It is"), Wait()]], store=store) as w:
        run = await _started_while_away(w, store)
        await w.engine.runs.cancel("", run.thread_id, run.id)
        await w.until("run.cancelled", run)
        w.clock.advance(2)
        await w.settle()
        assert w.names(run.id) == ["run.created", "run.queued", "run.cancelling", "run.cancelled"]
        assert await w.steps(run) == ()


async def _started_while_away(w: World, store: Noting) -> Run:
    run = await w.start("Hello")
    store.refused = 1
    await w.settle()
    assert store.refused == 0
    assert w.names(run.id) == ["run.created", "run.queued"]
    return run


async def test_a_wait_with_nothing_to_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start of a run that is resumed is stored already, so that its vector stores are waited for and no more."""

    async def slow(*_: object) -> None:
        await anyio.lowlevel.checkpoint()

    store, clock = Noting(), ManualClock()
    async with world([Wait()], store=store, clock=clock) as w:
        run = await w.start("Hello")
        await w.until("run.in_progress", run)
    store.commits.clear()
    monkeypatch.setattr(Ingestion, "use_in_run", slow)
    async with world([Say("Hi")], store=store, clock=clock) as w:
        await w.until("run.completed", run)
    assert [sorted(each) for each in store.commits] == [["-RunState", "Message", "Run", "RunStep"]]


async def test_a_handle_is_stored_with_what_is_held() -> None:
    store = Noting()
    async with world(YieldingBackend(TextChunk("Hi"), Detached("h"), _wait), store=store) as w:
        run = await w.start("Hello")
        await w.until("message.created", run)
        state = await w.engine._ledger.get(RunState, run.id)
        assert state.handle == "h"
        assert state.steps == tuple(step.id for step in await w.steps(run))
        assert sorted(store.commits[-1]) == ["Message", "Run", "RunState", "RunStep"]


async def _wait() -> None:
    await anyio.sleep_forever()


async def test_what_is_held_can_be_read() -> None:
    """As if it were stored; what is not held comes from the store."""
    async with world([Wait()]) as w:
        run = await w.start("Hello")
        ledger = TurnLedger(w.engine._ledger, "", run.id)
        assert await ledger.get(Run, run.id) == await w.get(run)
        assert not ledger.holds(Message, "msg_1")
        with pytest.raises(LookupError):
            await ledger.get(RunStep, "step_1")
