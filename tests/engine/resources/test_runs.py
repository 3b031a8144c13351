"""Operations on runs."""

import anyio
import pytest

from openai_runs import _wire
from openai_runs.backends import Call, Say, Wait
from openai_runs.engine import ApiError
from openai_runs.stores import PageQuery
from tests.engine.world import TIME, WEATHER, conform, function, world
from tests.stores.faulty import SlowStore

pytestmark = pytest.mark.anyio


async def assistant_of(w, **body):
    return await w.engine.assistants.create("", {"model": "m", **body})


async def create(w, assistant, **body):
    thread = await w.engine.threads.create("", {})
    return conform(await w.engine.runs.create("", thread.id, {"assistant_id": assistant.id, **body}))


async def test_defaults():
    """Everything is shown, with the API's defaults where nobody said anything."""
    async with world([Wait()]) as w:
        assistant = await assistant_of(w, metadata={"not": "inherited"})
        run = await create(w, assistant)
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


OF_ASSISTANT = {
    "model": "a",
    "instructions": "Be kind.",
    "tools": [WEATHER],
    "temperature": 0.1,
    "top_p": 0.2,
    "response_format": {"type": "json_object"},
    "reasoning_effort": "low",
}
OF_RUN = {
    "model": "r",
    "instructions": "Be brief.",
    "tools": [TIME],
    "temperature": 0,
    "top_p": 0.9,
    "response_format": "auto",
    "reasoning_effort": "high",
}


async def test_overrides():
    """The run's own value, else the assistant's, null being none."""
    requests = []

    def script(request):
        requests.append(request)
        return Say("Yes.")

    async with world(script) as w:
        assistant = await assistant_of(w, **OF_ASSISTANT)
        for body, expected in [
            ({}, OF_ASSISTANT),
            (dict.fromkeys(OF_RUN), OF_ASSISTANT),
            (OF_RUN, OF_RUN),
            ({"tools": []}, {**OF_ASSISTANT, "tools": []}),
        ]:
            run = await create(w, assistant, **body)
            shown = _wire.dump(run)
            assert {name: shown[name] for name in expected} == expected
            await w.until("run.completed", run)
            request = requests[-1]
            assert (request.temperature, request.top_p) == (expected["temperature"], expected["top_p"])
            assert (request.reasoning_effort, request.model) == (expected["reasoning_effort"], expected["model"])


async def test_settings():
    """What only a run has."""
    async with world([Wait()]) as w:
        assistant = await assistant_of(w, tools=[WEATHER])
        body = {
            "metadata": {"a": "b"},
            "max_prompt_tokens": 256,
            "max_completion_tokens": 300,
            "truncation_strategy": {"type": "last_messages", "last_messages": 5},
            "parallel_tool_calls": False,
            "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        }
        shown = _wire.dump(await create(w, assistant, **body))
        assert {name: shown[name] for name in body} == body
        nulls = dict.fromkeys(("max_prompt_tokens", "truncation_strategy", "tool_choice", "metadata"))
        shown = _wire.dump(await create(w, assistant, **nulls))
        assert shown["truncation_strategy"] == {"type": "auto", "last_messages": None}
        assert (shown["tool_choice"], shown["metadata"], shown["max_prompt_tokens"]) == ("auto", {}, None)
        required = await create(w, assistant, tool_choice={"type": "function"})  # a name is not required
        assert _wire.dump(required)["tool_choice"] == {"type": "function"}


async def test_functions_come_back_as_they_were_sent():
    """No `strict` that nobody sent, no null that was left out, no key in another order."""
    async with world([Wait()]) as w:
        tool = {"type": "function", "function": {"name": "f", "parameters": {"z": 1, "a": None}, "strict": None}}
        run = await create(w, await assistant_of(w), tools=[tool, {"type": "function", "function": {"name": "g"}}])
        shown = _wire.dump(run)["tools"]
        assert shown == [tool, {"type": "function", "function": {"name": "g"}}]
        assert list(shown[0]["function"]["parameters"]) == ["z", "a"]


@pytest.mark.parametrize(
    ("own", "more", "together"),
    [
        ("Be kind.", "Be brief.", "Be kind.\n\nBe brief."),
        (None, "Be brief.", "Be brief."),
        ("Be kind.", None, "Be kind."),
    ],
)
async def test_additional_instructions(own, more, together):
    """Appended to the instructions, whoever gave them."""
    async with world([Wait()]) as w:
        assistant = await assistant_of(w, instructions=own)
        assert (await create(w, assistant, additional_instructions=more)).instructions == together
        run = await create(w, assistant, instructions="Other.", additional_instructions="More.")
        assert run.instructions == "Other.\n\nMore."


async def test_additional_messages():
    """Part of the thread before the run; if the run is refused, they are not."""
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
    """In the hosted API's words; also when two come at once."""
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


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"truncation_strategy": {"type": "last_messages"}}, "truncation_strategy.last_messages"),
    ],
)
async def test_what_contradicts_itself(body, param):
    """Refused at once, naming the parameter."""
    async with world() as w:
        assistant = await assistant_of(w, tools=[WEATHER, {"type": "code_interpreter"}])
        with pytest.raises(ApiError, match=param) as caught:
            await create(w, assistant, **body)
        assert (caught.value.status, caught.value.param) == (400, param)


async def test_tool_resources():
    """The run's, else the thread's, else the assistant's, tool by tool."""
    requests = []

    def script(request):
        requests.append(request)
        return Say("Yes.")

    def resources(name):
        return {"code_interpreter": {"file_ids": [name]}, "file_search": {"vector_store_ids": [name]}}

    async with world(script) as w:
        assistant = await assistant_of(w, tool_resources=resources("assistant"))
        thread = {"tool_resources": {"file_search": {"vector_store_ids": ["thread"]}}}
        body = {"assistant_id": assistant.id, "thread": thread}
        run = await w.engine.threads.create_and_run("", body)
        await w.until("run.completed", run)
        own = {"code_interpreter": {"file_ids": ["run"]}}
        run = await w.engine.threads.create_and_run("", {**body, "tool_resources": own})
        await w.until("run.completed", run)
        shown = [_wire.dump(request.tool_resources) for request in requests]
        assert shown == [
            {"code_interpreter": {"file_ids": ["assistant"]}, "file_search": {"vector_store_ids": ["thread"]}},
            {"code_interpreter": {"file_ids": ["run"]}, "file_search": {"vector_store_ids": ["thread"]}},
        ]
        await w.until("run.completed", await create(w, await assistant_of(w, tool_resources=None)))
        assert requests[-1].tool_resources is None


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
    """All outputs at once, in any order, each for its call."""
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
    """One missing, one twice, one too many: refused, and nothing is lost."""
    async with world([[Call("f", id="a"), Call("g", id="b")]]) as w:
        run = await w.start()
        await w.until("run.requires_action", run)
        outputs = [{"tool_call_id": id, "output": ""} if id else {"output": ""} for id in got]
        with pytest.raises(ApiError) as caught:
            await w.engine.runs.submit_tool_outputs("", run.thread_id, run.id, outputs)
        assert caught.value.message == f"Expected tool outputs for call_ids ['a', 'b'], got {got}"
        assert (await w.get(run)).status == "requires_action"


async def test_wrong_outputs_are_not_echoed_at_any_length():
    """However many come, and however long their IDs are, the error stays readable."""
    async with world([[Call("f", id="a")]]) as w:
        run = await w.start()
        await w.until("run.requires_action", run)
        for got in ["x"] * 50_000, ["x" * 50_000]:
            outputs = [{"tool_call_id": id, "output": ""} for id in got]
            with pytest.raises(ApiError, match=r"call_ids \['a'\], got \['x") as caught:
                await w.engine.runs.submit_tool_outputs("", run.thread_id, run.id, outputs)
            assert len(caught.value.message) < 11_000


async def test_outputs_have_a_limit():
    """Half a megabyte together."""
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
    """In the hosted API's words."""
    async with world([Wait()]) as w:
        run = await w.start()
        await w.until("run.in_progress", run)
        with pytest.raises(ApiError) as caught:
            await w.engine.runs.submit_tool_outputs("", run.thread_id, run.id, [])
        assert caught.value.message == 'Runs in status "in_progress" do not accept tool outputs.'


async def test_submitted_twice_at_once():
    """One is taken; a program that repeats a request does not run its model twice."""
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


async def test_many_tools():
    """An assistant may have more tools than the document lets a run have; they all count."""
    async with world([Wait()]) as w:
        assistant = await assistant_of(w, tools=[function(f"f{n}") for n in range(20)])
        assert len((await create(w, assistant)).tools) == 20
