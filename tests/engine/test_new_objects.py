"""New objects: defaults, the assistant's values, and what is refused."""

import pytest

from openai_runs import _wire
from openai_runs.backends import Say, Wait
from openai_runs.engine import ApiError
from tests.engine.world import TIME, WEATHER, assistant_of, create_run, function, world

pytestmark = pytest.mark.anyio

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
    """The run's own value applies, else the assistant's; null counts as no value."""
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
            run = await create_run(w, assistant, **body)
            shown = _wire.dump(run)
            assert {name: shown[name] for name in expected} == expected
            await w.until("run.completed", run)
            request = requests[-1]
            assert (request.temperature, request.top_p) == (expected["temperature"], expected["top_p"])
            assert (request.reasoning_effort, request.model) == (expected["reasoning_effort"], expected["model"])


async def test_settings():
    """Settings that only runs have."""
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
        shown = _wire.dump(await create_run(w, assistant, **body))
        assert {name: shown[name] for name in body} == body
        nulls = dict.fromkeys(("max_prompt_tokens", "truncation_strategy", "tool_choice", "metadata"))
        shown = _wire.dump(await create_run(w, assistant, **nulls))
        assert shown["truncation_strategy"] == {"type": "auto", "last_messages": None}
        assert (shown["tool_choice"], shown["metadata"], shown["max_prompt_tokens"]) == ("auto", {}, None)
        required = await create_run(w, assistant, tool_choice={"type": "function"})  # a name is not required
        assert _wire.dump(required)["tool_choice"] == {"type": "function"}


async def test_functions_come_back_as_they_were_sent():
    """No `strict` is added, no null is dropped, and keys keep their order."""
    async with world([Wait()]) as w:
        tool = {"type": "function", "function": {"name": "f", "parameters": {"z": 1, "a": None}, "strict": None}}
        run = await create_run(w, await assistant_of(w), tools=[tool, {"type": "function", "function": {"name": "g"}}])
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
    """They are appended to the instructions, the run's or the assistant's."""
    async with world([Wait()]) as w:
        assistant = await assistant_of(w, instructions=own)
        assert (await create_run(w, assistant, additional_instructions=more)).instructions == together
        run = await create_run(w, assistant, instructions="Other.", additional_instructions="More.")
        assert run.instructions == "Other.\n\nMore."


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"truncation_strategy": {"type": "last_messages"}}, "truncation_strategy.last_messages"),
    ],
)
async def test_what_contradicts_itself(body, param):
    """A contradictory request is refused, naming the parameter."""
    async with world() as w:
        assistant = await assistant_of(w, tools=[WEATHER, {"type": "code_interpreter"}])
        with pytest.raises(ApiError, match=param) as caught:
            await create_run(w, assistant, **body)
        assert (caught.value.status, caught.value.param) == (400, param)


async def test_tool_resources():
    """The resources of run, thread and assistant are united: an empty list at one hides nothing of the others."""
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
        own = {"code_interpreter": {"file_ids": ["run", "assistant"]}}
        run = await w.engine.threads.create_and_run("", {**body, "tool_resources": own})
        await w.until("run.completed", run)
        empty = {"tool_resources": {"code_interpreter": {"file_ids": []}, "file_search": {"vector_store_ids": []}}}
        run = await w.engine.threads.create_and_run("", {**body, "thread": empty})
        await w.until("run.completed", run)
        shown, both = [_wire.dump(request.tool_resources) for request in requests], ["thread", "assistant"]
        assert shown == [
            {"code_interpreter": {"file_ids": ["assistant"]}, "file_search": {"vector_store_ids": both}},
            {"code_interpreter": {"file_ids": ["run", "assistant"]}, "file_search": {"vector_store_ids": both}},
            resources("assistant"),
        ]
        await w.until("run.completed", await create_run(w, await assistant_of(w, tool_resources=None)))
        assert requests[-1].tool_resources is None


async def test_many_tools():
    """An assistant may have more tools than the schema allows in a run; the run gets all of them."""
    async with world([Wait()]) as w:
        assistant = await assistant_of(w, tools=[function(f"f{n}") for n in range(20)])
        assert len((await create_run(w, assistant)).tools) == 20


async def test_new_vector_stores_are_refused():
    """They come with an assistant or a thread; elsewhere they must not be ignored silently."""
    async with world() as w:
        resources = {"file_search": {"vector_stores": [{"file_ids": ["file"]}]}}
        assistant, thread = await assistant_of(w), await w.engine.threads.create("", {})
        with pytest.raises(ApiError, match="cannot be created here") as caught:
            await w.engine.assistants.update("", assistant.id, {"tool_resources": resources})
        assert caught.value.param == "tool_resources.file_search.vector_stores"
        with pytest.raises(ApiError, match="cannot be created here"):
            await w.engine.threads.update("", thread.id, {"tool_resources": resources})


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "file_search", "max_num_results": 5}, "tools[1].max_num_results"),
        ({"type": "function", "function": {"name": "f", "strikt": True}}, "tools[1].function.strikt"),
        (
            {"type": "file_search", "file_search": {"ranking_options": {"score": 1}}},
            "tools[1].file_search.ranking_options.score",
        ),
    ],
)
async def test_unknown_keys_of_tools_are_refused(tool, param):
    """What no backend would apply is refused by name, and not dropped silently."""
    async with world() as w:
        assistant = await assistant_of(w)
        body = {"tools": [WEATHER, tool]}
        for refused in (
            w.engine.assistants.create("", {"model": "m", **body}),
            w.engine.assistants.update("", assistant.id, body),
            create_run(w, assistant, **body),
        ):
            with pytest.raises(ApiError, match="Unknown parameter") as caught:
                await refused
            assert (caught.value.param, caught.value.code) == (param, "unknown_parameter")


async def test_what_makes_no_sense_is_a_400():
    """An error that the API's schema does not find is reported with its path."""
    async with world() as w:
        with pytest.raises(ApiError, match=r"Invalid 'body'.*tools") as caught:
            await w.engine.assistants.create("", {"model": "m", "tools": 5})
        assert (caught.value.status, caught.value.code) == (400, "invalid_value")
