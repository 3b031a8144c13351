"""`ScriptedBackend`: follows its script, and has sensible turns without one."""

import json

import anyio
import pytest

from openai_runs.backends import Call, Cite, Fail, Refuse, Say, ScriptedBackend, Stop, Wait
from openai_runs.backends.model_backend import (
    Finished,
    ModelRequest,
    RefusalChunk,
    TextChunk,
    ToolCallChunk,
    UsageReport,
)
from openai_runs.backends.scripted import default_turn
from openai_runs.errors import BackendError
from openai_runs.models.tool import Function, FunctionTool
from tests.backends.reading import together
from tests.backends.requests import call as a_call
from tests.backends.requests import step as a_step
from tests.backends.requests import user
from tests.backends.searches import CUP, STORES, TEA, TOOL, Files, respond
from tests.engine.world import TIME, WEATHER, world

pytestmark = pytest.mark.anyio


def request(**values):
    defaults = {
        "run_id": "run",
        "thread_id": "thread",
        "model": "m",
        "instructions": "",
        "items": (),
        "tools": (),
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "response_format": "auto",
        "tool_resources": None,
        "temperature": None,
        "top_p": None,
        "reasoning_effort": None,
        "max_prompt_tokens": None,
        "max_completion_tokens": None,
        "metadata": {},
    }
    return ModelRequest(**{**defaults, **values})


async def events(script, **values):
    return [event async for event in ScriptedBackend(script).respond(request(**values))]


async def test_parts():
    """Text comes word by word with all its spaces, calls in two chunks."""
    turn = [Say(" It is\n sunny. "), Call("f", {"a": 1}, id="c"), Call("g", "no JSON"), Refuse("No more.")]
    assert await events([turn], instructions="Be brief.") == [
        *[TextChunk(" It"), TextChunk(" is"), TextChunk("\n sunny. ")],
        *[ToolCallChunk(0, "c", "f"), ToolCallChunk(0, arguments='{"a": 1}')],
        *[ToolCallChunk(1, None, "g"), ToolCallChunk(1, arguments="no JSON")],
        *[RefusalChunk("No"), RefusalChunk(" more."), UsageReport(2, 9), Finished()],
    ]
    assert (await events([Say("   ")]))[0] == TextChunk("   ")
    assert await events([[]]) == [UsageReport(0, 0), Finished()]


async def test_ends():
    """A turn may end with a finish reason or an error; the usage is reported first."""
    assert await events([[Say("A b"), Stop("content_filter"), Say("c")]]) == [
        *[TextChunk("A"), TextChunk(" b"), UsageReport(0, 2), Finished("content_filter")],
    ]
    told = ScriptedBackend([[Say("A"), Fail("rate_limit_exceeded", "Slow down!")]]).respond(request())
    assert [await anext(told), await anext(told)] == [TextChunk("A"), UsageReport(0, 1)]
    with pytest.raises(BackendError, match="Slow down!") as caught:
        await anext(told)
    assert caught.value.code == "rate_limit_exceeded"


async def test_limit():
    """When the tokens are used up, it stops in the middle."""
    assert (await events([Say("one two three")], max_completion_tokens=2))[-3:] == [
        *[TextChunk(" two"), UsageReport(0, 2), Finished("max_tokens")],
    ]
    assert await events([Call("f", "1 2 3")], max_completion_tokens=2) == [
        *[ToolCallChunk(0, None, "f"), UsageReport(0, 0), Finished("max_tokens")],
    ]


async def test_wait():
    """`Wait` pauses until its event is set."""
    go_on = anyio.Event()
    async with world([[Say("One"), Wait(go_on), Say(" two")]]) as w:
        run = await w.start()
        await w.until("message.delta", run)
        await w.settle()
        assert w.said(run.id) == ["One"]
        go_on.set()
        await w.until("run.completed", run)
        assert w.said(run.id) == ["One", " two"]


async def test_a_turn_for_each_call_of_each_run():
    """Every run starts the script from the beginning; after its end, turns are as without a script."""
    async with world([Call("f", {"n": 1}), Call("g")]) as w:
        first, second = await w.start(), await w.start()
        for run in (first, second):
            await w.answer(run, "1")
            await w.answer(run, "2")
            await w.until("run.completed", run)
            assert (await w.messages(run))[-1].text == "f answered: 1\ng answered: 2"


async def test_a_function_as_script():
    """A function is called for each turn, and may use `default_turn`."""
    async with world(lambda request: default_turn(request) if request.rounds else Call("f")) as w:
        run = await w.start()
        await w.answer(run, "yes")
        await w.until("run.completed", run)
        assert (await w.messages(run))[-1].text == "f answered: yes"


async def test_rehearsal():
    """Without a script: each tool is called once with valid arguments, then a message has the outputs."""
    async with world() as w:
        run = await w.start("How is it?", tools=[WEATHER, TIME, {"type": "code_interpreter"}])
        calls = (await w.until("run.requires_action", run)).pending_tool_calls
        assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
            *[("get_weather", {"city": "Oslo"}), ("get_time", {})],
        ]
        await w.answer(run, "so so")
        done = await w.until("run.completed", run)
        assert (await w.messages(run))[-1].text == "get_weather answered: so so\nget_time answered: so so"
        assert done.usage.prompt_tokens == 3 + (3 + 2 + 2 + 1 + 2)  # the question; then also arguments and outputs
        assert done.usage.completion_tokens == 2 + 1 + 8


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("none", []),
        ("auto", ["get_weather", "get_time"]),
        ("required", ["get_weather", "get_time"]),
        ({"type": "function", "function": {"name": "get_time"}}, ["get_time"]),
        ({"type": "function"}, ["get_weather", "get_time"]),
    ],
)
async def test_tool_choice(choice, called):
    """`tool_choice` is respected; after the outputs there are no more calls."""
    async with world() as w:
        run = await w.start("Hi", tools=[WEATHER, TIME], tool_choice=choice)
        if called:
            waiting = await w.until("run.requires_action", run)
            assert [call.function.name for call in waiting.pending_tool_calls] == called
            await w.answer(run)
        await w.until("run.completed", run)


async def test_one_call_at_a_time():
    """Without parallel calls, each tool is called in a round of its own."""
    async with world() as w:
        run = await w.start("Hi", tools=[WEATHER, TIME], parallel_tool_calls=False)
        names = []
        for round in (1, 2):
            waiting = await w.until("run.requires_action", run, round)
            names += [call.function.name for call in waiting.pending_tool_calls]
            await w.answer(run)
        await w.until("run.completed", run)
        assert names == ["get_weather", "get_time"]


async def test_answers_in_the_format_that_was_asked_for():
    """`response_format` is respected."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    json_schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    async with world() as w:
        run = await w.start("Hi", response_format=json_schema)
        await w.until("run.completed", run)
        assert json.loads((await w.messages(run))[-1].text) == {"n": 1}
        run = await w.start("Hi", response_format={"type": "json_object"})
        await w.until("run.completed", run)
        assert json.loads((await w.messages(run))[-1].text) == {"asked": "Hi"}
        run = await w.start("Hi", tools=[TIME], response_format={"type": "json_object"})
        await w.answer(run, "noon")
        await w.until("run.completed", run)
        assert json.loads((await w.messages(run))[-1].text) == {"get_time": "noon"}


async def test_without_anything():
    """A request without messages and tools still gets a message."""
    async with world() as w:
        run = await w.start()
        await w.until("run.completed", run)
        assert (await w.messages(run))[-1].text == "You said: "


async def test_a_script_can_search_and_cite():
    """The mark is that of the passage with certain words, else of the best one; there may be none."""
    turns = [Call("file_search", {"queries": ["cup"]}), [Say("It holds 0.2 l"), Cite("0.2"), Say(". Hot"), Cite()]]
    answer = together(await respond(ScriptedBackend(turns), Files(TEA, CUP)))
    assert answer.text == "It holds 0.2 l【0:1†cup.md】. Hot【0:0†tea.md】"
    assert [note.file_citation.file_id for note in answer.annotations] == ["file-cup", "file-tea"]
    assert together(await events([Cite("tea")])).text == ""


async def test_without_a_script_it_searches_for_the_question():
    """And answers with the sentence that fits best; other functions are called as ever."""
    question = user("How many litres does a cup hold?")
    files = Files(TEA, CUP)
    answer = together(await respond(ScriptedBackend(), files, question))
    assert files.searches[0]["queries"] == ["How many litres does a cup hold?"]
    assert answer.text == "A cup holds 0.2 litres. 【0:1†cup.md】"
    [search] = answer.hosted
    both = {"tools": (FunctionTool(function=Function(name="get_time")), TOOL), "tool_resources": STORES}
    done = a_step(search), a_step(a_call("get_time", "{}", "noon"))
    answer = together(await respond(ScriptedBackend(), files, question, *done, **both))
    assert answer.text == "A cup holds 0.2 litres. 【0:1†cup.md】\nget_time answered: noon"
