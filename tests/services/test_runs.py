"""`session.runs`: each operation, each parameter."""

from typing import Any

import pytest

from openai_runs import load
from openai_runs.batch import RunJob, run_batch
from openai_runs.errors import BadRequestError, NotFoundError, UnsupportedEndpointError
from openai_runs.models.assistant import Assistant
from openai_runs.models.run import Run, TruncationStrategy
from openai_runs.models.thread import Thread
from openai_runs.models.tool import CodeInterpreterTool, JsonObjectFormat, NamedToolChoice, ToolOutput
from openai_runs.server import LocalServer
from openai_runs.services.runs import MARKER
from openai_runs.session import Session
from openai_runs.toolbox import Toolbox
from tests.proxy import Proxy
from tests.samples import EXAMPLES
from tests.stub import Stub
from tests.weather import QUICK, WEATHER

EXAMPLE = load((EXAMPLES / "objects/RunObject.json").read_bytes(), Run)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def waiting(session: Session, assistant: Assistant, thread: Thread) -> Run:
    """A run that waits for tool outputs."""
    run = await session.runs.create(thread.id, assistant_id=assistant.id)
    async for event in session.runs.follow(run, polling=QUICK):
        if event.status == "requires_action":
            break
    return event.run


async def test_a_toolbox_stands_for_its_tools(session: Session, thread: Thread) -> None:
    """`tools=toolbox` is the same as `tools=toolbox.tools`, wherever there are tools."""
    toolbox = Toolbox()

    @toolbox.tool
    def get_weather(city: str) -> str:
        """The weather of a city."""
        return f"sunny in {city}"

    made = await session.assistants.create(model="scripted", tools=toolbox)
    assert made.tools == toolbox.tools
    other = await session.assistants.update((await session.assistants.create(model="scripted")).id, tools=toolbox)
    assert other.tools == toolbox.tools
    plain = await session.assistants.create(model="scripted")
    run = await session.runs.create(thread.id, assistant_id=plain.id, tools=toolbox)
    assert run.tools == toolbox.tools
    await session.runs.complete(run, toolbox=toolbox, polling=QUICK)
    assert (await session.threads.create_and_run(assistant_id=plain.id, tools=toolbox)).tools == toolbox.tools
    async with session.runs.stream(thread.id, assistant_id=plain.id, tools=toolbox, toolbox=toolbox) as events:
        assert (await events.until_done()).tools == toolbox.tools
    async with session.threads.stream_run(assistant_id=plain.id, tools=toolbox, toolbox=toolbox) as events:
        assert (await events.until_done()).tools == toolbox.tools
    jobs: list[RunJob] = [{"assistant_id": plain.id, "tools": toolbox}]
    async with run_batch(session, jobs, toolbox=toolbox, polling=QUICK) as results:
        async for result in results:
            assert result.ok
            assert result.run.tools == toolbox.tools


async def test_create_with_everything(
    server: LocalServer, session: Session, assistant: Assistant, thread: Thread
) -> None:
    """Every parameter arrives, and comes back in the same shape."""
    run = await session.runs.create(
        thread.id,
        assistant_id=assistant.id,
        include=["step_details.tool_calls[*].file_search.results[*].content"],
        model="other",
        instructions="Be brief.",
        additional_instructions="And kind.",
        additional_messages=[{"role": "user", "content": "more"}, {"role": "assistant", "content": "yes"}],
        tools=[WEATHER, CodeInterpreterTool(), {"type": "file_search"}],
        metadata={"k": "v"},
        temperature=1.5,
        top_p=0.9,
        max_prompt_tokens=256,
        max_completion_tokens=257,
        truncation_strategy=TruncationStrategy(type="last_messages", last_messages=2),
        tool_choice=NamedToolChoice(type="code_interpreter"),
        parallel_tool_calls=False,
        response_format=JsonObjectFormat(),
        reasoning_effort="high",
    )
    assert (run.thread_id, run.assistant_id, run.model) == (thread.id, assistant.id, "other")
    assert run.instructions.split() == ["Be", "brief.", "And", "kind."]
    assert [tool.type for tool in run.tools] == ["function", "code_interpreter", "file_search"]
    assert run.metadata == {"k": "v"}
    assert (run.temperature, run.top_p, run.max_prompt_tokens, run.max_completion_tokens) == (1.5, 0.9, 256, 257)
    assert (run.truncation_strategy.type, run.truncation_strategy.last_messages) == ("last_messages", 2)
    assert (run.tool_choice.type, run.parallel_tool_calls) == ("code_interpreter", False)
    assert (run.response_format.type, run.reasoning_effort) == ("json_object", "high")
    texts = [message.text async for message in session.messages.list(thread.id, order="asc", limit=3)]
    assert texts[:3] == ["How is the weather?", "more", "yes"]


async def test_no_marker(session: Session, assistant: Assistant, thread: Thread) -> None:
    """Where keys are honoured, a run has no marker, nor one that was copied; unless the caller has a key of his own."""
    for given, shown in (({"a": "b", MARKER: "old"}, {"a": "b"}), ({MARKER: "old"}, {}), (None, {})):
        run = await session.runs.create(thread.id, assistant_id=assistant.id, metadata=given, tools=[])
        assert run.metadata == shown
        await session.runs.complete(run, polling=QUICK)
    run = await session.runs.create(thread.id, assistant_id=assistant.id, metadata={MARKER: "old"}, idempotency_key="k")
    assert run.metadata == {MARKER: "k"}


@pytest.mark.usefixtures("keyless")
async def test_the_marker(session: Session, assistant: Assistant, thread: Thread) -> None:
    """Each run gets a marker of its own; another run's is replaced; without room for a pair there is none."""
    one = await session.runs.create(thread.id, assistant_id=assistant.id, metadata=None)
    await session.runs.cancel(one)
    other = await session.runs.create((await session.threads.create()).id, assistant_id=assistant.id, metadata={})
    assert one.metadata[MARKER] != other.metadata[MARKER]
    pairs = {str(n): "v" for n in range(16)}
    for metadata in (pairs, {**dict(list(pairs.items())[:15]), MARKER: "old"}):
        thread = await session.threads.create()
        run = await session.runs.create(thread.id, assistant_id=assistant.id, metadata=metadata)
        assert run.metadata.keys() == metadata.keys()
        assert run.metadata.get(MARKER) != "old"


async def test_find_created(session: Session, assistant: Assistant, thread: Thread) -> None:
    """A run is found again by the key that it was created with, and by no other."""
    assert await session.runs.find_created(thread.id, "job-1") is None
    run = await session.runs.create(thread.id, assistant_id=assistant.id, idempotency_key="job-1")
    assert (await session.runs.find_created(thread.id, "job-1")).id == run.id
    assert await session.runs.find_created(thread.id, "job-2", timeout=5) is None
    with pytest.raises(NotFoundError):
        await session.runs.find_created("thread_none", "job-1")


async def test_retrieve_and_update(session: Session, waiting: Run) -> None:
    """A run is retrieved by the object or by its two IDs."""
    assert await session.runs.retrieve(waiting) == waiting
    assert await session.runs.retrieve(thread_id=waiting.thread_id, run_id=waiting.id) == waiting
    assert (await session.runs.update(waiting, metadata={"a": "b"})).metadata == {"a": "b"}
    changed = await session.runs.update(thread_id=waiting.thread_id, run_id=waiting.id, metadata={"c": "d"})
    assert (changed.metadata, changed.status) == ({"c": "d"}, "requires_action")
    with pytest.raises(NotFoundError):
        await session.runs.retrieve(thread_id=waiting.thread_id, run_id="run_none")


async def test_list(session: Session, assistant: Assistant, thread: Thread) -> None:
    """All runs of a thread, in either order, page by page."""
    ids = []
    for _ in range(3):
        run = await session.runs.create(thread.id, assistant_id=assistant.id, tools=[])
        ids.append((await session.runs.complete(run, polling=QUICK)).id)
    assert [run.id async for run in session.runs.list(thread.id, limit=2)] == ids[::-1]
    assert [run.id async for run in session.runs.list(thread.id, limit=1, order="asc")] == ids
    page = await session.runs.list(thread.id, order="asc", after=ids[0], before=ids[2]).page()
    assert [run.id for run in page.data] == ids[1:2]


@pytest.mark.parametrize("by_ids", [False, True])
async def test_cancel(session: Session, waiting: Run, by_ids: bool) -> None:
    """A run that waits for tool outputs can be cancelled; one that has ended cannot."""
    cancelled = await (
        session.runs.cancel(thread_id=waiting.thread_id, run_id=waiting.id) if by_ids else session.runs.cancel(waiting)
    )
    assert cancelled.status in ("cancelling", "cancelled")
    events = [event async for event in session.runs.follow(cancelled, polling=QUICK)]
    assert events[-1].status == "cancelled"
    with pytest.raises(BadRequestError, match="Cannot cancel run with status 'cancelled'"):
        await session.runs.cancel(waiting)


@pytest.mark.parametrize("by_ids", [False, True])
@pytest.mark.parametrize("as_dicts", [False, True])
async def test_submit_tool_outputs(session: Session, waiting: Run, by_ids: bool, as_dicts: bool) -> None:
    """Outputs are models or dicts; then the run continues and accepts no further outputs."""
    outputs: list[Any] = [
        {"tool_call_id": call.id, "output": "rain"} if as_dicts else ToolOutput(tool_call_id=call.id, output="rain")
        for call in waiting.pending_tool_calls
    ]
    where: Any = {"thread_id": waiting.thread_id, "run_id": waiting.id} if by_ids else {"run": waiting}
    run = await session.runs.submit_tool_outputs(**where, tool_outputs=outputs)
    assert run.status != "requires_action"
    assert (await session.runs.complete(run, polling=QUICK)).status == "completed"
    with pytest.raises(BadRequestError, match="do not accept tool outputs"):
        await session.runs.submit_tool_outputs(**where, tool_outputs=outputs)


async def test_not_all_outputs(session: Session, waiting: Run) -> None:
    """Submitting only some of the outputs is refused with the server's message."""
    with pytest.raises(BadRequestError, match="Expected tool outputs for call_ids"):
        await session.runs.submit_tool_outputs(waiting, [])


@pytest.mark.parametrize("include", [None, "content", [None]])
async def test_what_is_no_list_of_fields(include: Any) -> None:
    """`include` is a list of strings; anything else is refused before it is sent."""
    async with Stub() as stub, stub.session() as session:
        for call in (
            lambda: session.runs.create("thread_1", assistant_id="asst_1", include=include),
            lambda: session.runs.stream("thread_1", assistant_id="asst_1", include=include),
            lambda: session.run_steps.retrieve(thread_id="thread_1", run_id="run_1", step_id="step_1", include=include),
            lambda: session.run_steps.list(thread_id="thread_1", run_id="run_1", include=include),
        ):
            with pytest.raises(TypeError, match=r"include(\[0\])? must be a .*nothing was sent"):
                await call()
    assert stub.requests == []


async def test_which_run() -> None:
    """A run is given as a Run or as two IDs; one ID alone is refused before anything is sent."""
    async with Stub() as stub, stub.session() as session:
        words = r"give a Run, or thread_id=…, run_id=… as keywords: got "
        for call, got in (
            (session.runs.retrieve, "neither"),
            (lambda: session.runs.retrieve("run_1"), "'run_1'; nothing was sent"),
            (lambda: session.runs.retrieve("run_1", thread_id="thread_1"), "'run_1', thread_id='thread_1'"),
            (lambda: session.runs.retrieve(thread_id="thread_1"), "thread_id='thread_1'"),
            (lambda: session.runs.cancel(EXAMPLE, run_id="run_2"), ".*, run_id='run_2'"),
            (lambda: session.runs.update("run_1", metadata={}), "'run_1'"),
            (lambda: session.runs.submit_tool_outputs("run_1", []), "'run_1'"),
        ):
            with pytest.raises(TypeError, match=words + got):
                await call()
        with pytest.raises(TypeError, match="missing parameter 'tool_outputs'"):
            await session.runs.submit_tool_outputs(EXAMPLE)
        with pytest.raises(TypeError, match=words):
            session.runs.follow("run_1")
    assert stub.requests == []


async def test_a_wrong_base_url(server: LocalServer) -> None:
    """A server without the API's paths raises UnsupportedEndpointError."""
    async with Session(server.url + "/v9") as session:
        with pytest.raises(UnsupportedEndpointError, match=r"base_url is wrong .* It responded: .*Invalid URL"):
            await session.runs.retrieve(thread_id="thread_1", run_id="run_1")


async def test_one_request_each(server: LocalServer, assistant: Assistant, thread: Thread) -> None:
    """No operation costs more than its one request."""
    async with Proxy(server.url) as proxy, proxy.session() as session:
        run = await session.runs.create(thread.id, assistant_id=assistant.id)
        await session.runs.retrieve(run)
        await session.runs.update(run, metadata={})
        await session.runs.cancel(run)
        await session.runs.list(thread.id).page()
    path = f"/v1/threads/{thread.id}/runs"
    one = f"{path}/{run.id}"
    assert proxy.requests == [f"POST {path}", f"GET {one}", f"POST {one}", f"POST {one}/cancel", f"GET {path}"]


async def test_runs_of_all_threads(session: Session, assistant: Assistant) -> None:
    """Beyond the API: this library's server lists runs whatever their threads, and finds one by its own ID."""
    made = [await session.threads.create_and_run(assistant_id=assistant.id) for _ in range(3)]
    assert [found.id async for found in session.runs.list_all(limit=2)] == [run.id for run in reversed(made)]
    found = await session.runs.find(made[1].id)
    assert (found.id, found.thread_id) == (made[1].id, made[1].thread_id)
    with pytest.raises(NotFoundError):
        await session.runs.find("run_none")
