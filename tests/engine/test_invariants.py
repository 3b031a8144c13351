"""Whatever clients, clocks, disks and crashes do, what the API promises of a run holds."""

import random
from contextlib import suppress

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs.backends import Call, Fail, Refuse, Say, Stop, Wait
from openai_runs.engine import ApiError, ManualClock
from openai_runs.errors import StoreError
from openai_runs.lifecycle import MOVES
from openai_runs.models.run import Run
from openai_runs.stores.records import RunState
from tests.engine.world import ALL, world
from tests.stores.faulty import FaultyStore, MoodyStore

SAID = [Say("One two."), Say("Three."), Refuse("No."), Call("f"), Call("g", id="call_0")]
PARTS = st.sampled_from([*SAID, *SAID, Wait, Wait, Fail(), Stop("max_tokens")])
TURNS = st.lists(st.lists(PARTS, max_size=4), max_size=5)
OPERATIONS = st.lists(
    st.sampled_from(
        [
            *["create", "create", "answer", "answer", "answer wrong", "cancel", "let go", "wait a minute", "settle"],
            *["settle", "settle", "say", "note", "crash", "disk full", "disk empty", "delete thread"],
        ]
    ),
    max_size=30,
)


class Witness:
    """Checks every run after every operation."""

    def __init__(self):
        self.last: dict[str, Run] = {}
        self.said: dict[str, str] = {}

    def check_events(self, w):
        """Check the events of one engine: each status must be reachable from the one before in one move."""
        for _, event in w.events:
            if isinstance(event.data, Run) and event.name != "thread.run.created":
                self.check_run(event.data)
        w.events.clear()

    def check_run(self, run):
        before = self.last.get(run.id)
        if before is not None and before.status != run.status:
            assert run.status in MOVES[before.status], f"{before.status} -> {run.status}"
        self.last[run.id] = run
        assert run.status.is_terminal == (run.usage is not None) == (run.expires_at is None)
        assert (run.status == "requires_action") == (run.required_action is not None)
        assert (run.status == "failed") == (run.last_error is not None) == (run.failed_at is not None)

    async def check_thread(self, w, thread_id):
        """Check what a client reads: one active run, nothing open in an ended run, nothing lost or duplicated."""
        runs = (await w.engine.runs.list("", thread_id, ALL)).data
        assert sum(not run.status.is_terminal for run in runs) <= 1
        for run in runs:
            self.check_run(run)
            steps = await w.steps(run)
            for step in steps:
                assert (step.status == "in_progress") == (step.usage is None)
                assert not (run.status.is_terminal and step.status == "in_progress")
            if run.status.is_terminal:
                assert sum(step.usage.total_tokens for step in steps) <= run.usage.total_tokens
            writing = [step.step_details for step in steps if step.type == "message_creation"]
            written = [details.message_creation.message_id for details in writing]
            messages = [message for message in await w.messages(run) if message.run_id == run.id]
            assert [message.id for message in messages] == written
            for message in messages:
                assert not (run.status.is_terminal and message.status == "in_progress")
                if message.status != "in_progress":
                    assert self.said.setdefault(message.id, message.text) == message.text


@given(TURNS, OPERATIONS, st.integers(1, 3))
def test_invariants(turns, operations, most):
    """A random sequence of requests, failures and crashes."""
    anyio.run(_live, turns, ["create", *operations], most)


async def _live(turns, operations, most):
    witness, store, clock = Witness(), FaultyStore(), ManualClock()
    gates = [anyio.Event()]

    def script(request):
        parts = turns[len(request.rounds)] if len(request.rounds) < len(turns) else [Say("Done.")]
        return [Wait(gates[-1]) if part is Wait else part for part in parts]

    threads, assistant, left = [], None, list(operations)
    while left:
        async with world(script, store=store, clock=clock, max_active_runs=most) as w:
            assistant = assistant or await w.engine.assistants.create("", {"model": "m"})
            while left and (operation := left.pop(0)) != "crash":
                with suppress(ApiError, StoreError):
                    await _do(operation, w, store, gates, threads, assistant, len(left))
                witness.check_events(w)
                for thread in threads:
                    await witness.check_thread(w, thread)
        witness.check_events(w)
    store.full = False
    async with world(script, store=store, clock=clock, max_active_runs=most) as w:
        clock.advance(601)
        for _ in range(3):
            await w.settle()
            clock.advance(1)
        witness.check_events(w)
        for thread in threads:
            await witness.check_thread(w, thread)
            for run in (await w.engine.runs.list("", thread, ALL)).data:
                assert run.status.is_terminal
        assert await store.unfinished() == []


async def _do(operation, w, store, gates, threads, assistant, number):
    engine, thread = w.engine, threads[number % len(threads)] if threads else ""
    match operation:
        case "create" if len(threads) < 3:
            threads.append((await engine.threads.create_and_run("", {"assistant_id": assistant.id})).thread_id)
        case "create":
            await engine.runs.create("", thread, {"assistant_id": assistant.id, "parallel_tool_calls": number % 2 == 0})
        case "answer" | "answer wrong" | "cancel" | "note" if threads:
            for run in (await engine.runs.list("", thread, ALL)).data[-1:]:
                calls = [call.id for call in run.pending_tool_calls] + ["x"] * (operation == "answer wrong")
                if operation == "cancel":
                    await engine.runs.cancel("", thread, run.id)
                elif operation == "note":
                    await engine.runs.update("", thread, run.id, {"metadata": {"noted": str(number)}})
                else:
                    outputs = [{"tool_call_id": id, "output": "yes"} for id in calls]
                    await engine.runs.submit_tool_outputs("", thread, run.id, outputs)
        case "say" if threads:
            await engine.messages.create("", thread, {"role": "user", "content": "Hello"})
        case "delete thread" if threads:
            await engine.threads.delete("", thread)
            threads.remove(thread)
        case "let go":
            gates.append(anyio.Event())
            gates[-2].set()
        case "wait a minute":
            w.clock.advance(60)
        case "disk full" | "disk empty":
            store.full = operation == "disk full"
        case "settle":
            await w.settle()


MIXED = ["create", "create", "answer", "answer", "cancel", "say", "note", "delete thread", "let go", "wait", "look"]


@pytest.mark.unmeasured
@pytest.mark.parametrize("seed", range(20))
def test_all_at_once(seed):
    """With concurrent clients, a failing disk and deadlines, each run ends, and only once."""
    anyio.run(_live_at_once, random.Random(seed))


@pytest.mark.unmeasured
@pytest.mark.parametrize("seed", range(30, 40))
def test_a_bug_affects_one_run_only(seed):
    """A run whose state is lost fails, at whatever moment; the promises hold for the others."""

    class Forgetful(MoodyStore):
        async def get(self, kind, id):
            return None if kind is RunState and self._chance.random() < 0.1 else await super().get(kind, id)

    anyio.run(_live_at_once, random.Random(seed), Forgetful, LookupError)


async def _live_at_once(chance, kind_of_store=MoodyStore, problem=StoreError):
    store, clock, threads, gates = kind_of_store(chance), ManualClock(), [], [anyio.Event()]

    def script(request):
        parts = [chance.choice([*SAID, Wait(gates[-1]), Fail()]) for _ in range(chance.randrange(5))]
        return parts if len(request.rounds) < 3 else Say("Done.")

    async def client(w, assistant):
        for number in range(25):
            operation = chance.choice(MIXED)
            with suppress(ApiError, StoreError, problem):  # a thread is locked, or gone; the disk is full
                if operation == "wait":
                    clock.advance(chance.choice([1, 60, 599]))
                else:
                    await _do(operation, w, store, gates, threads, assistant, number)

    for failing in (0.0, 0.2, 0.0):
        async with world(script, store=store, clock=clock, max_active_runs=chance.randint(1, 3)) as w:
            store.failing = 0.0
            assistant = await w.engine.assistants.create("", {"model": "m"})
            store.failing = failing
            async with anyio.create_task_group() as clients:
                for _ in range(4):
                    clients.start_soon(client, w, assistant)
            ended = [id for id, event in w.events if isinstance(event.data, Run) and event.data.status.is_terminal]
            assert len(ended) == len(set(ended))
            Witness().check_events(w)
    async with world([Say("Done.")], store=store, clock=clock) as w:
        clock.advance(601)
        for _ in range(20):
            await w.settle()
        for thread in threads:
            await Witness().check_thread(w, thread)
            for run in (await w.engine.runs.list("", thread, ALL)).data:
                assert run.status.is_terminal
        assert await store.unfinished() == []
