"""The API's operations on runs."""

import anyio
import attrs
import pytest

from openai_runs import _wire
from openai_runs.backends import Call, Say, Wait
from openai_runs.engine import ApiError
from openai_runs.stores import PageQuery
from openai_runs.stores.memory import MemoryStore
from tests.engine.world import assistant_of, conform, create_run, world
from tests.stores.faulty import SlowStore

pytestmark = pytest.mark.anyio


async def test_defaults():
    """All fields are shown, with the API's defaults for those that the request lacks."""
    async with world([Wait()]) as w:
        assistant = await assistant_of(w, metadata={"not": "inherited"})
        run = await create_run(w, assistant)
        now = int(w.clock.now())
        assert _wire.dump(run) == {
            "id": run.id,
            "object": "thread.run",
            "created_at": now,
            "thread_id": run.thread_id,
            "assistant_id": assistant.id,
            "status": "queued",
            "required_action": None,
            "last_error": None,
            "expires_at": now + 600,
            "started_at": None,
            "cancelled_at": None,
            "failed_at": None,
            "completed_at": None,
            "incomplete_details": None,
            "model": "m",
            "instructions": "",
            "tools": [],
            "metadata": {},
            "usage": None,
            "temperature": 1.0,
            "top_p": 1.0,
            "max_prompt_tokens": None,
            "max_completion_tokens": None,
            "truncation_strategy": {"type": "auto", "last_messages": None},
            "tool_choice": "auto",
            "parallel_tool_calls": True,
            "response_format": "auto",
        }


async def test_additional_messages():
    """They are added to the thread before the run; if the run is refused, they are not."""
    async with world() as w:
        run = await w.start("Hi")
        with pytest.raises(ApiError):
            await w.again(run, additional_messages=[{"role": "user", "content": "lost"}])
        await w.until("run.completed", run)
        later = await w.again(run, additional_messages=[{"role": "user", "content": "And?"}])
        await w.until("run.completed", later)
        texts = [(message.text, message.run_id) for message in await w.messages(run)]
        assert texts == [("Hi", None), ("You said: Hi", run.id), ("And?", None), ("You said: And?", later.id)]


async def test_one_active_run_per_thread():
    """With the hosted API's message; also for concurrent requests."""
    async with world([Wait()], store=SlowStore()) as w:
        run = await w.start()
        with pytest.raises(ApiError) as caught:
            await w.again(run)
        assert caught.value.message == f"Thread {run.thread_id} already has an active run {run.id}."
        assert (caught.value.status, caught.value.param, caught.value.code) == (400, None, None)
        thread, results = await w.engine.threads.create("", {}), []

        async def one():
            try:
                results.append(await w.engine.runs.create("", thread.id, {"assistant_id": run.assistant_id}))
            except ApiError as error:
                results.append(error)

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(one)
        assert sum(isinstance(result, ApiError) for result in results) == 4


async def test_update_and_list():
    """Metadata can be changed at any time; a thread's runs are listed newest first."""
    async with world() as w:
        run = await w.start()
        changed = conform(await w.engine.runs.update("", run.thread_id, run.id, {"metadata": {"a": "b"}}))
        assert changed.metadata == {"a": "b"}
        await w.until("run.completed", run)
        assert (await w.engine.runs.update("", run.thread_id, run.id, {})).metadata == {"a": "b"}
        assert (await w.engine.runs.update("", run.thread_id, run.id, {"metadata": None})).metadata == {}
        later = await w.again(run)
        page = conform(await w.engine.runs.list("", run.thread_id, PageQuery()))
        assert [item.id for item in page.data] == [later.id, run.id]
        assert (await w.engine.runs.list("", run.thread_id, PageQuery(after=later.id))).data[0].id == run.id


async def test_submit():
    """All outputs in one request, in any order, each for its call."""
    async with world([[Call("f", id="a"), Call("g", id="b")], Say("Done.")]) as w:
        run = await w.start()
        await w.until("run.requires_action", run)
        outputs = [{"tool_call_id": "b", "output": "2"}, {"tool_call_id": "a"}]  # an output may be left out
        await w.engine.runs.submit_tool_outputs("", run.thread_id, run.id, outputs)
        await w.until("run.completed", run)
        calls = (await w.steps(run))[0].step_details.tool_calls
        assert [(call.id, call.function.output) for call in calls] == [("a", ""), ("b", "2")]


@pytest.mark.parametrize("got", [[], ["a"], ["a", "a"], ["a", "b", "c"], ["a", "x"], ["a", "b", "b"], ["a", ""]])
async def test_exactly_the_outputs_that_are_asked_for(got):
    """Missing, duplicated or unexpected outputs are refused, and the run keeps waiting."""
    async with world([[Call("f", id="a"), Call("g", id="b")]]) as w:
        run = await w.start()
        await w.until("run.requires_action", run)
        outputs = [{"tool_call_id": id, "output": ""} if id else {"output": ""} for id in got]
        with pytest.raises(ApiError) as caught:
            await w.engine.runs.submit_tool_outputs("", run.thread_id, run.id, outputs)
        assert caught.value.message == f"Expected tool outputs for call_ids ['a', 'b'], got {got}"
        assert (await w.get(run)).status == "requires_action"


async def test_wrong_outputs_are_not_echoed_at_any_length():
    """However many outputs come, and however long their IDs are, the error is short."""
    async with world([[Call("f", id="a")]]) as w:
        run = await w.start()
        await w.until("run.requires_action", run)
        for got in ["x"] * 50_000, ["x" * 50_000]:
            outputs = [{"tool_call_id": id, "output": ""} for id in got]
            with pytest.raises(ApiError, match=r"call_ids \['a'\], got \['x") as caught:
                await w.engine.runs.submit_tool_outputs("", run.thread_id, run.id, outputs)
            assert len(caught.value.message) < 11_000


async def test_outputs_have_a_limit():
    """All outputs together must be smaller than 512 kB."""
    async with world([Call("f", id="a"), Say("Done.")]) as w:
        run = await w.start()
        await w.until("run.requires_action", run)
        submit = w.engine.runs.submit_tool_outputs
        with pytest.raises(ApiError) as caught:
            await submit("", run.thread_id, run.id, [{"tool_call_id": "a", "output": "ä" * (256 * 1024)}])
        message = "'tool_outputs' too large: the combined tool outputs must be less than 512kb."
        assert (caught.value.message, caught.value.param) == (message, "tool_outputs")
        assert caught.value.code == "invalid_value"
        await submit("", run.thread_id, run.id, [{"tool_call_id": "a", "output": "x" * (512 * 1024 - 1)}])
        await w.until("run.completed", run)


async def test_submit_at_the_wrong_time():
    """With the hosted API's message."""
    async with world([Wait()]) as w:
        run = await w.start()
        await w.until("run.in_progress", run)
        with pytest.raises(ApiError) as caught:
            await w.engine.runs.submit_tool_outputs("", run.thread_id, run.id, [])
        assert caught.value.message == 'Runs in status "in_progress" do not accept tool outputs.'


async def test_submitted_twice_at_once():
    """One request is accepted: a client that repeats it does not call the model twice."""
    async with world([Call("f", id="a"), Wait()], store=SlowStore()) as w:
        run = await w.start()
        await w.until("run.requires_action", run)
        taken, refused = [], []

        async def submit():
            try:
                taken.append(
                    await w.engine.runs.submit_tool_outputs("", run.thread_id, run.id, [{"tool_call_id": "a"}])
                )
            except ApiError as error:
                refused.append(error.message)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(submit)
        assert len(taken) == 1
        assert refused == ['Runs in status "queued" do not accept tool outputs.'] * 2


async def test_of_another_thread():
    """A run is found in its own thread only."""
    async with world() as w:
        run, other = await w.start(), await w.start()
        for operation in (
            w.engine.runs.retrieve("", other.thread_id, run.id),
            w.engine.runs.update("", other.thread_id, run.id, {}),
            w.engine.runs.cancel("", other.thread_id, run.id),
            w.engine.runs.submit_tool_outputs("", other.thread_id, run.id, []),
            w.engine.run_steps.list("", other.thread_id, run.id, PageQuery()),
        ):
            with pytest.raises(ApiError) as caught:
                await operation
            assert (caught.value.status, str(caught.value)) == (404, f"No run found with id '{run.id}'.")


class Heard:
    def __init__(self):
        self.runs = []

    def note(self, run):
        self.runs.append((run.id, str(run.status)))


async def test_watching():
    """A watcher hears of the unfinished runs of its owner, then of each change, until it is told nothing more."""
    go_on = anyio.Event()
    go_on.set()
    async with world(lambda _: [Wait(go_on), Say("Hi")]) as w:
        ended = await w.start(owner="ann")
        await w.until("run.completed", ended)
        heard, other = Heard(), Heard()
        await w.engine.runs.watch("ann", heard)
        await w.engine.runs.watch("ann", other)
        assert heard.runs == []
        w.engine.runs.unwatch("ann", other)
        run = await w.start(owner="ann")
        await w.start(owner="bob")
        await w.until("run.completed", run)
        assert heard.runs == [(run.id, status) for status in ("queued", "in_progress", "completed")]
        w.engine.runs.unwatch("ann", heard)
        assert other.runs == []
        assert not w.engine._ledger._watchers


async def test_watching_from_the_middle():
    """A run that waits is told at once."""
    async with world([Call("f", {})]) as w:
        run = await w.start()
        await w.until("run.requires_action", run)
        heard = Heard()
        await w.engine.runs.watch("", heard)
        assert heard.runs == [(run.id, "requires_action")]
        w.engine.runs.unwatch("", heard)


async def test_a_run_that_changes_while_somebody_begins_to_watch(monkeypatch):
    """What was read before is not told after that, as if the run had gone back."""
    async with world([Call("f", {})]) as w:
        run = await w.start()
        await w.until("run.requires_action", run)
        get, heard = MemoryStore.get, Heard()

        async def slow(store, kind, id):
            found = await get(store, kind, id)
            monkeypatch.undo()
            await w.engine.runs.cancel("", run.thread_id, run.id)
            await w.until("run.cancelled", run)
            return found

        monkeypatch.setattr(MemoryStore, "get", slow)
        await w.engine.runs.watch("", heard)
        assert heard.runs == [(run.id, "cancelling"), (run.id, "cancelled")]
        w.engine.runs.unwatch("", heard)


async def test_a_run_that_goes_meanwhile():
    """A thread that is deleted while its run is read is no failure."""
    async with world([Call("f", {})]) as w:
        run = await w.start()
        await w.until("run.requires_action", run)
        w.engine.runs._executor._active["thread_gone"] = attrs.evolve(
            w.engine.runs._executor._active[run.thread_id], run_id="run_gone"
        )
        heard = Heard()
        await w.engine.runs.watch("", heard)
        assert heard.runs == [(run.id, "requires_action")]
        del w.engine.runs._executor._active["thread_gone"]
