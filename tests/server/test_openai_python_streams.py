"""The client library openai-python: its streams work with nothing but another base URL."""

import pytest
from openai import AsyncAssistantEventHandler, AsyncOpenAI, BadRequestError

from openai_runs.backends import Call, Fail, Refuse, Say, ScriptedBackend
from openai_runs.server import LocalServer
from tests.round_robin import replicas
from tests.server.event_stream import documented, story

pytestmark = [
    pytest.mark.unmeasured,
    pytest.mark.anyio,
    # The client marks all of the API as deprecated; that is what this server is for.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

TOOL = {"type": "function", "function": {"name": "get_weather"}}
THREAD = {"messages": [{"role": "user", "content": "How is the weather in Oslo and in Rome?"}]}
SCRIPT = [
    [Say("Let me look."), Call("get_weather", {"city": "Oslo"}), Call("get_weather", {"city": "Rome"})],
    Say("It is sunny in both."),
]


@pytest.fixture
def script():
    return SCRIPT


@pytest.fixture(params=["one server", "three servers on one store"])
async def client(anyio_backend, script, request, tmp_path):
    def make(**options):
        return LocalServer(backend=ScriptedBackend(script), **options)

    if request.param == "one server":
        serving = make()
    else:
        serving = replicas(request.getfixturevalue("postgres_server").store_url(), tmp_path, make=make)
    async with serving as server, AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture
async def assistant(client):
    return await client.beta.assistants.create(model="scripted", tools=[TOOL])


class Handler(AsyncAssistantEventHandler):
    """Records the calls of its methods."""

    def __init__(self):
        super().__init__()
        self.texts, self.done, self.calls, self.steps, self.names, self.ended = [], [], [], [], [], False
        self.arguments = ""

    async def on_event(self, event):
        self.names.append((event.event, event.data))

    async def on_text_delta(self, delta, snapshot):
        self.texts.append(delta.value)
        assert snapshot.value.endswith(delta.value)

    async def on_text_done(self, text):
        self.done.append(text.value)

    async def on_message_done(self, message):
        assert message.status == "completed"

    async def on_tool_call_delta(self, delta, snapshot):
        self.arguments += delta.function.arguments or ""
        assert snapshot.function.arguments.endswith(delta.function.arguments)

    async def on_tool_call_done(self, tool_call):
        self.calls.append(tool_call)

    async def on_run_step_done(self, run_step):
        self.steps.append(run_step.type)

    async def on_end(self):
        self.ended = True


def outputs_for(run):
    calls = run.required_action.submit_tool_outputs.tool_calls
    return [{"tool_call_id": call.id, "output": "sunny"} for call in calls]


async def test_event_handlers(client, assistant):
    """One handler for the run, and one after the tool outputs, as the library's documentation shows."""
    runs = client.beta.threads.runs
    thread = await client.beta.threads.create(**THREAD)
    first = Handler()
    async with runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=first) as stream:
        await stream.until_done()
        run = stream.current_run
    assert (run.status, first.ended) == ("requires_action", True)
    assert (first.texts, first.done) == (["Let", " me", " look."], ["Let me look."])
    assert first.arguments == '{"city": "Oslo"}{"city": "Rome"}'
    assert [call.function.arguments for call in first.calls] == ['{"city": "Oslo"}', '{"city": "Rome"}']
    assert [call.id for call in first.calls] == [output["tool_call_id"] for output in outputs_for(run)]

    second = Handler()
    async with runs.submit_tool_outputs_stream(
        thread_id=thread.id, run_id=run.id, tool_outputs=outputs_for(run), event_handler=second
    ) as stream:
        await stream.until_done()
        [message] = await stream.get_final_messages()
        [step] = await stream.get_final_run_steps()  # of the steps that this stream has begun
        run = await stream.get_final_run()
    assert run == await runs.retrieve(run.id, thread_id=thread.id)
    assert "".join(second.texts) == second.done[0] == message.content[0].text.value == "It is sunny in both."
    assert message == await client.beta.threads.messages.retrieve(message.id, thread_id=thread.id)
    assert step.step_details.message_creation.message_id == message.id
    assert second.steps == ["tool_calls", "message_creation"]
    assert [*story(second.names), "done"] == documented("submitToolOuputsToRun.streaming.sse")


async def test_create_with_stream(client, assistant):
    """`create(stream=True)` and `submit_tool_outputs(stream=True)` yield all events but `done`."""
    runs = client.beta.threads.runs
    thread = await client.beta.threads.create(**THREAD)
    stream = await runs.create(thread.id, assistant_id=assistant.id, stream=True)
    events = [(event.event, event.data) async for event in stream]
    assert story(events)[:3] == ["run.created", "run.queued", "run.in_progress"]
    assert story(events)[-1] == "run.requires_action"
    run = events[-1][1]
    stream = await runs.submit_tool_outputs(run.id, thread_id=thread.id, tool_outputs=outputs_for(run), stream=True)
    events = [(event.event, event.data) async for event in stream]
    assert [*story(events), "done"] == documented("submitToolOuputsToRun.streaming.sse")
    stream = await client.beta.threads.create_and_run(assistant_id=assistant.id, thread=THREAD, stream=True)
    async with stream:
        async for event in stream:
            assert event.event == "thread.created"
            break  # and leave
    assert (await client.beta.threads.retrieve(event.data.id)).id == event.data.id


@pytest.mark.parametrize("script", [[Say("Hello! How can I help?")]])
async def test_create_and_run_stream(client, assistant):
    """A thread and its run are streamed together; the text can be read alone."""
    handler = Handler()
    threads = client.beta.threads
    async with threads.create_and_run_stream(assistant_id=assistant.id, thread=THREAD, event_handler=handler) as stream:
        await stream.until_done()
    assert [*story(handler.names), "done"] == documented("createThreadAndRun.streaming.sse")
    async with threads.create_and_run_stream(assistant_id=assistant.id, thread=THREAD) as stream:
        assert [piece async for piece in stream.text_deltas] == ["Hello!", " How", " can", " I", " help?"]


@pytest.mark.parametrize("script", [[[Refuse("I will not."), Fail(message="And that is it.")]]])
async def test_refusals_and_failures(client, assistant):
    """A failed run ends its stream like any other; a refused request raises."""
    stream = await client.beta.threads.create_and_run(assistant_id=assistant.id, thread=THREAD, stream=True)
    events = [(event.event, event.data) async for event in stream]
    assert story(events)[-3:] == ["message.incomplete", "run.step.failed", "run.failed"]
    assert events[-1][1].last_error.message == "And that is it."
    with pytest.raises(BadRequestError, match="temperature"):
        await client.beta.threads.create_and_run(assistant_id=assistant.id, temperature=3, stream=True)
