"""`Executor`: the order of runs, cancellation, deadlines, and a store that is unavailable."""

import asyncio

import anyio
import anyio.lowlevel
import pytest
from attrs import evolve

from openai_runs.backends import Call, Say, Wait
from openai_runs.backends.model_backend import (
    Detached,
    ModelBackend,
    TextChunk,
    Unsupported,
)
from openai_runs.engine import ApiError
from openai_runs.engine.limits import Limits, OwnerLimits
from openai_runs.errors import StoreUnavailableError
from tests.engine.world import WEATHER, world
from tests.stores.faulty import DamagedStore, FaultyStore, SlowStore

pytestmark = pytest.mark.anyio

TALKING = [[Say("It is"), Wait()]]


async def cancel(w, run):
    return await w.engine.runs.cancel("", run.thread_id, run.id)


async def test_max_active_runs():
    """The others stay queued, and start when a place is free; a run that waits for outputs needs no place."""
    events = {}

    def script(request):
        if request.rounds:
            return Say("Done.")
        return [Wait(events.setdefault(request.run_id, anyio.Event())), Call("f")]

    async with world(script, max_active_runs=2) as w:
        runs = [await w.start() for _ in range(4)]
        await w.settle()
        assert [(await w.get(run)).status for run in runs] == ["in_progress", "in_progress", "queued", "queued"]
        assert w.engine.runs.pending == 4
        events[runs[1].id].set()
        await w.until("run.requires_action", runs[1])
        await w.until("run.in_progress", runs[2])
        assert (await w.get(runs[3])).status == "queued"
        assert w.engine.runs.pending == 3
        await cancel(w, runs[0])
        await w.until("run.in_progress", runs[3])
        await w.answer(runs[1])
        await w.settle()
        assert (await w.get(runs[1])).status == "queued"  # it gave up its place
        events[runs[2].id].set()
        await w.until("run.completed", runs[1])


async def test_owners_are_served_in_rotation():
    """One owner's many runs do not delay another owner's single run."""
    go_on = anyio.Event()
    async with world([[Wait(go_on), Say("Done.")]], max_active_runs=1) as w:
        ours = [await w.start(owner="us") for _ in range(5)]
        theirs = await w.start(owner="them")
        go_on.set()
        for run in (*ours, theirs):
            await w.until("run.completed", run)
        order = [id for id, event in w.events if event.name == "thread.run.completed"]
        assert order.index(theirs.id) == 2
        assert [id for id in order if id != theirs.id] == [run.id for run in ours]


async def test_an_owner_at_full_load_takes_every_second_place_only():
    """A hundred queued runs of one owner: of the next places, another owner with ten runs gets ten of twenty-one."""
    go_on, done = anyio.Event(), [Say("Done.")]
    async with world([[Wait(go_on), *done]], max_active_runs=1) as w:
        ours = [await w.start(owner="us") for _ in range(101)]
        theirs = [await w.start(owner="them") for _ in range(10)]
        go_on.set()
        for run in (*ours, *theirs):
            await w.until("run.completed", run)
        order = [id for id, event in w.events if event.name == "thread.run.completed"]
        is_theirs = [id in {run.id for run in theirs} for id in order]
        assert is_theirs[1:21] == [False, True] * 10
        assert sum(is_theirs[21:]) == 0


def waiting_script():
    """A script whose runs wait until `let_go` of their first message's text."""
    events = {}

    def event_of(text):
        return events.setdefault(text, anyio.Event())

    return (lambda request: [Wait(event_of(request.items[0].text)), Say("Done.")]), lambda text: event_of(text).set()


async def executing(w):
    """How many runs of each owner execute."""
    await w.settle()
    return dict(w.engine._executor._running_turns)


async def test_an_owner_has_its_share_while_another_waits():
    """Slow runs of one owner take all places while it is alone; then another owner gets half of them, as they end."""
    script, let_go = waiting_script()
    async with world(script, max_active_runs=4) as w:
        for number in range(8):
            await w.start(f"us {number}", owner="us")
        assert await executing(w) == {"us": 4}
        for number in range(4):
            await w.start(f"them {number}", owner="them")
        assert await executing(w) == {"us": 4}  # what has begun is not interrupted
        for number, held in enumerate([{"us": 3, "them": 1}, {"us": 2, "them": 2}, {"us": 2, "them": 2}]):
            let_go(f"us {number}")
            assert await executing(w) == held


async def test_the_share_of_an_owner():
    """It can be set. A place stays free if all who wait have their share, and is taken when only one still waits."""
    script, let_go = waiting_script()
    async with world(script, max_active_runs=3, owner_share=1) as w:
        for number in range(3):
            await w.start(f"first {number}", owner="first")
        runs = [await w.start(f"{owner} {number}", owner=owner) for number in range(2) for owner in ("us", "them")]
        for number in range(3):
            let_go(f"first {number}")
        assert await executing(w) == {"us": 1, "them": 1}
        await w.engine.runs.cancel("them", runs[3].thread_id, runs[3].id)
        assert await executing(w) == {"us": 2, "them": 1}


async def test_cancel_in_progress():
    """The response shows `cancelling`; then the run is `cancelled`, and its text so far is kept."""
    async with world(TALKING) as w:
        run = await w.start()
        await w.until("message.delta", run, 2)
        cancelling, refused = await asyncio.gather(cancel(w, run), cancel(w, run), return_exceptions=True)
        assert (cancelling.status, cancelling.cancelled_at) == ("cancelling", None)
        assert cancelling.expires_at == run.expires_at
        assert isinstance(refused, ApiError)
        assert (refused.status, refused.message) == (400, "Cannot cancel run with status 'cancelling'.")
        cancelled = await w.until("run.cancelled", run)
        assert (cancelled.cancelled_at is not None, cancelled.usage.total_tokens) == (True, 0)
        assert w.names(run.id)[-4:] == ["run.cancelling", "message.incomplete", "run.step.cancelled", "run.cancelled"]
        (message,), (step,) = await w.messages(run), await w.steps(run)
        assert (message.text, message.incomplete_details.reason) == ("It is", "run_cancelled")
        assert (step.status, step.cancelled_at is not None) == ("cancelled", True)


async def test_cancel_while_queued():
    """A queued run never starts."""
    async with world(TALKING, max_active_runs=1) as w:
        first, second = await w.start(), await w.start()
        assert (await cancel(w, second)).status == "cancelling"
        await w.until("run.cancelled", second)
        assert w.names(second.id) == ["run.created", "run.queued", "run.cancelling", "run.cancelled"]
        await cancel(w, first)
        await w.until("run.cancelled", first)
        await w.until("message.delta", await w.again(second))


async def test_cancel_while_it_waits():
    """Its step is cancelled, and outputs for its calls are refused."""
    async with world() as w:
        run = await w.start(tools=[WEATHER])
        waiting = await w.until("run.requires_action", run)
        cancelling = await cancel(w, run)
        assert (cancelling.status, cancelling.required_action) == ("cancelling", None)
        done = await w.until("run.cancelled", run)
        (step,) = await w.steps(run)
        assert (step.status, step.usage, done.usage.total_tokens) == ("cancelled", done.usage, done.usage.total_tokens)
        assert step.step_details.tool_calls[0].id == waiting.pending_tool_calls[0].id
        assert done.usage.completion_tokens > 0
        with pytest.raises(ApiError, match='Runs in status "cancelled" do not accept tool outputs'):
            await w.engine.runs.submit_tool_outputs("", run.thread_id, run.id, [])


async def test_cancel_when_it_has_ended():
    """An ended run cannot be cancelled."""
    async with world() as w:
        run = await w.start()
        await w.until("run.completed", run)
        with pytest.raises(ApiError, match="Cannot cancel run with status 'completed'"):
            await cancel(w, run)


@pytest.mark.parametrize("where", ["in_progress", "requires_action"])
async def test_expiry(where):
    """Ten minutes after its creation a run expires, in whatever status."""
    async with world([[Say("It is"), Call("f")]] if where == "requires_action" else TALKING, max_active_runs=1) as w:
        run = await w.start()
        await w.until(f"run.{where}", run)
        await w.settle()
        w.clock.advance(599)
        await w.settle()
        assert (await w.get(run)).status == where
        w.clock.advance(1)
        expired = await w.until("run.expired", run)
        assert (expired.expires_at, expired.completed_at is not None, expired.required_action) == (None, True, None)
        assert expired.usage is not None
        step, message = (await w.steps(run))[-1], (await w.messages(run))[-1]
        assert (step.status, step.expired_at is not None, step.expires_at) == ("expired", True, run.expires_at)
        if where == "in_progress":
            assert message.incomplete_details.reason == "run_expired"
        with pytest.raises(ApiError, match='Runs in status "expired" do not accept tool outputs'):
            await w.engine.runs.submit_tool_outputs("", run.thread_id, run.id, [])


async def test_expiry_while_queued():
    """A run that is queued for too long expires as well."""
    async with world([Call("f"), Wait()], max_active_runs=1) as w:
        run = await w.start()
        await w.until("run.requires_action", run)
        w.clock.advance(1)
        other = await w.start()
        await w.answer(other)
        await w.until("run.in_progress", other, 2)
        await w.answer(run)
        w.clock.advance(599)
        await w.until("run.expired", run)
        assert w.names(run.id)[-2:] == ["run.queued", "run.expired"]
        assert (await w.get(other)).status == "in_progress"


async def test_expiry_when_a_place_gets_free():
    """A place that gets free while a run's end is being committed is not given to that run."""
    async with world([Call("f"), Wait()], max_active_runs=1, store=SlowStore()) as w:
        run = await w.start()
        await w.until("run.requires_action", run)
        w.clock.advance(1)
        other = await w.start()
        await w.answer(other)
        await w.until("run.in_progress", other, 2)
        await w.answer(run)
        await cancel(w, other)
        w.clock.advance(599)
        await w.until("run.expired", run)
        await w.settle()
        assert w.names(run.id)[-2:] == ["run.queued", "run.expired"]
        await w.until("run.requires_action", await w.start())  # the place is free


async def test_outputs_do_not_extend_it():
    """The ten minutes are for the whole run, waiting included."""
    async with world([Call("f"), Wait()]) as w:
        run = await w.start()
        await w.until("run.requires_action", run)
        w.clock.advance(500)
        await w.answer(run)
        await w.until("run.in_progress", run, 2)
        w.clock.advance(100)
        await w.until("run.expired", run)


async def test_expires_after():
    """`expires_after` sets the time; fractions of a second count, though `expires_at` does not show them."""
    async with world([Wait()], expires_after=1.5) as w:
        run = await w.start()
        assert (run.expires_at - run.created_at).total_seconds() == 2
        await w.settle()
        w.clock.advance(1.25)
        await w.settle()
        assert (await w.get(run)).status == "in_progress"
        w.clock.advance(0.25)
        await w.until("run.expired", run)


async def test_an_ended_run_does_not_expire():
    """Its deadline is discarded."""
    async with world() as w:
        run = await w.start()
        await w.until("run.completed", run)
        w.clock.advance(1000)
        await w.settle()
        assert (await w.get(run)).status == "completed"


async def test_cancelled_and_expired_at_once():
    """Whichever is first, the run ends only once."""
    async with world(TALKING, store=SlowStore()) as w:
        run = await w.start()
        await w.until("message.delta", run)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancel, w, run)
            await anyio.lowlevel.checkpoint()
            w.clock.advance(600)
        await w.until("run.cancelled", run)
        await w.settle()
        assert sum(name in ("run.cancelled", "run.expired") for name in w.names(run.id)) == 1


async def test_what_a_backend_cannot_do_is_refused():
    """It is refused when the run is created, and nothing is stored."""

    class Limited(ModelBackend):
        def refuse(self, request):
            return Unsupported("tools[0]", "'tools[0]': no.") if request.tools else None

        async def respond(self, request):
            yield TextChunk("Hello")

    async with world(Limited()) as w:
        with pytest.raises(ApiError) as caught:
            await w.start(tools=[WEATHER])
        error = caught.value
        assert (error.status, error.message, error.param) == (400, "'tools[0]': no.", "tools[0]")
        run = await w.start()
        await w.until("run.completed", run)
        assistant = await w.engine.assistants.create("", {"model": "m", "tools": [WEATHER]})
        with pytest.raises(ApiError):
            await w.engine.threads.create_and_run("", {"assistant_id": assistant.id})


async def test_a_full_disk():
    """New work is refused while the store takes no commits; runs that execute wait, and continue."""
    go_on, store = anyio.Event(), FaultyStore()
    async with world([[Wait(go_on), Say("Let me look."), Call("f")], Say("Done.")], store=store) as w:
        run = await w.start()
        await w.until("run.in_progress", run)
        store.full = True
        go_on.set()
        with pytest.raises(StoreUnavailableError):
            await w.start()
        with pytest.raises(StoreUnavailableError):
            await cancel(w, run)
        for _ in range(3):
            await w.settle()
            w.clock.advance(1)
        await w.settle()
        assert store.refused > 3
        assert w.names(run.id)[-1] == "run.in_progress"
        store.full = False
        w.clock.advance(1)
        await w.answer(run)
        await w.until("run.completed", run)
        assert w.said(run.id) == ["Let", " me", " look.", "Done."]


async def test_a_history_that_cannot_be_read_now():
    """Runs wait until their database is back; that is no failure of theirs."""
    store = DamagedStore(reading=["history"], error=StoreUnavailableError("The database does not answer."))
    async with world([Say("Hello")], store=store, max_active_runs=1) as w:
        first = await w.start()
        await w.until("run.completed", first)
        run = await w.again(first)
        store.hurt.add(run.id)
        for _ in range(3):
            await w.settle()
            w.clock.advance(1)
        assert w.names(run.id)[-1] == "run.in_progress"
        store.hurt.clear()
        w.clock.advance(1)
        await w.until("run.completed", run)


async def test_a_full_disk_at_the_end():
    """The end of a run that cannot be committed is committed later."""
    store = FaultyStore()
    async with world(TALKING, store=store) as w:
        run = await w.start()
        await w.until("message.delta", run, 2)
        store.full = True
        w.clock.advance(600)
        await w.settle()
        with pytest.raises(StoreUnavailableError):
            await w.engine.threads.delete("", run.thread_id)
        store.full = False
        w.clock.advance(1)
        await w.settle()
        assert {"run.expired", "run.cancelled"} & set(w.names(run.id))
        await w.engine.threads.delete("", run.thread_id)


async def test_deleting_a_thread_that_cannot_be_deleted_yet():
    """Its run is cancelled nevertheless, as soon as that can be committed."""
    store = FaultyStore()
    async with world(TALKING, store=store) as w:
        run = await w.start()
        await w.until("message.delta", run, 2)
        store.full = True
        with pytest.raises(StoreUnavailableError):
            await w.engine.threads.delete("", run.thread_id)
        await w.settle()
        store.full = False
        w.clock.advance(1)
        await w.until("run.cancelled", run)
        assert (await w.messages(run))[0].text == "It is"


async def test_deleting_a_thread_whose_run_is_next():
    """The run does not start while it is being cancelled."""
    async with world(TALKING, max_active_runs=1, store=SlowStore()) as w:
        first, second = await w.start(), await w.start()
        await w.until("message.delta", first)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(w.engine.threads.delete, "", first.thread_id)
            tasks.start_soon(w.engine.threads.delete, "", second.thread_id)
        await w.settle()
        assert w.names(second.id) == ["run.created", "run.queued", "run.cancelled"]


async def test_cancelled_while_deleting_a_thread():
    """Whenever the caller is cancelled, the thread's run completes or is cancelled."""

    class SlowReads(SlowStore):
        async def get(self, kind, id):
            await anyio.lowlevel.checkpoint()
            return await super().get(kind, id)

    for rounds in range(12):
        go_on = anyio.Event()
        async with world([[Say("It is"), Wait(go_on)]], store=SlowReads()) as w:
            run = await w.start()
            await w.until("message.delta", run)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(w.engine.threads.delete, "", run.thread_id)
                for _ in range(rounds):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            go_on.set()
            await w.settle()
            assert w.names(run.id)[-1] in ("run.completed", "run.cancelled"), rounds


@pytest.mark.unmeasured
async def test_a_thousand_at_once():
    """All of them end, each with its own message."""
    async with world(lambda request: Say(request.items[0].text), store=SlowStore()) as w:
        runs = []

        async def one(number):
            runs.append((number, await w.start(f"I am {number}")))

        async with anyio.create_task_group() as tasks:
            for number in range(1000):
                tasks.start_soon(one, number)
        for number, run in runs:
            await w.until("run.completed", run)
            assert [message.text for message in await w.messages(run)] == [f"I am {number}"] * 2


async def test_a_deadline_that_cannot_be_handled(caplog):
    """The other deadlines are kept."""
    async with world([Call("f")]) as w:
        one, other = await w.start(), await w.start()
        await w.until("run.requires_action", other)
        w.engine._executor._active.pop(one.thread_id)
        w.clock.advance(600)
        await w.until("run.expired", other)
        assert f"the deadline of {one.thread_id} could not be handled" in caplog.text


async def test_a_backend_whose_abandon_raises(caplog):
    """It is only logged, even if it raises something other than an `Exception`."""

    class Stubborn(ModelBackend):
        async def respond(self, request):
            yield Detached("resp_1")
            await anyio.sleep_forever()

        async def abandon(self, handle):
            raise asyncio.CancelledError

    async with world(Stubborn()) as w:
        run = await w.start()
        await w.settle()
        await w.engine.runs.cancel("", run.thread_id, run.id)
        await w.until("run.cancelled", run)
        await w.settle()
        assert f"run {run.id} has ended, but its model call could not be stopped at the endpoint" in caplog.text


async def test_a_run_is_no_longer_active_once_its_end_is_stored():
    """Its owner may start another one as soon as it can know; it does not count twice, nor does one that is unknown."""
    limits = OwnerLimits(by_owner={"": Limits(active_runs=2)})
    async with world([Wait()], limits=limits) as w:
        executor, (first, second) = w.engine._executor, [await w.start("Hi") for _ in range(2)]
        assert await executor.active_runs("") == 2
        executor.note_end(first)
        executor.note_end(first)
        executor.note_end(evolve(second, id="run_other"))
        executor.note_end(evolve(second, thread_id="thread_other"))
        assert await executor.active_runs("") == 1
        await w.engine.threads.delete("", first.thread_id)
        assert await executor.active_runs("") == 1
        await w.engine.threads.delete("", second.thread_id)
        assert await executor.active_runs("") == 0
