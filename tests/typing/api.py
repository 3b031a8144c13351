"""Calls that type-check, and calls that must not: there, the ignore would be unused. Never executed."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, TypedDict, assert_type

from openai_runs import (
    ActionRequired,
    AnswerFormat,
    Assistant,
    BatchResult,
    JobRetries,
    Message,
    Polling,
    RateLimits,
    Run,
    RunEnded,
    RunEvent,
    RunJob,
    RunStatus,
    RunStep,
    Session,
    StatusChanged,
    Thread,
    Toolbox,
    ToolOutput,
    ToolOutputsSubmitted,
    dump,
    load,
    run_batch,
)
from openai_runs.batch import BatchProgress, ResultRow
from openai_runs.batch.durable import DurableBatch, DurableBatches, Progress, work
from openai_runs.batch.progress_bar import progress_bar
from openai_runs.models.assistant import Deleted
from openai_runs.models.file import File
from openai_runs.models.notebook import Timeline
from openai_runs.models.page import Page
from openai_runs.models.request_options import RequestOptions
from openai_runs.models.run import RunCreateParams, RunRow
from openai_runs.models.run_step import CallRow, StepRow
from openai_runs.models.tool import CodeInterpreterTool, Function, FunctionTool, FunctionToolCall, Tool
from openai_runs.models.vector_store import (
    VectorStore,
    VectorStoreFile,
    VectorStoreFileBatch,
    VectorStoreSearchPage,
)
from openai_runs.telemetry import Telemetry

toolbox = Toolbox()


def models() -> None:
    run = load(b"{}", Run)
    assert_type(run, Run)
    assert_type(load({}, Page[Run]).data, tuple[Run, ...])
    assert_type(load({}, Run, strict=False).created_at, datetime)
    assert_type(run.status, RunStatus)
    assert_type(run.tools, tuple[Tool, ...])
    for tool in run.tools:
        if isinstance(tool, FunctionTool):
            assert_type(tool.function.name, str)
    dump(run)
    run.status = RunStatus.QUEUED  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    run.model_dump()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    _ = run.stauts  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    Thread(id="thread_1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


class Words(TypedDict):
    words: int


async def shown(session: Session, run: Run, step: RunStep) -> None:
    assert_type(run.row(), RunRow)
    assert_type(step.row(), StepRow)
    assert_type(step.call_rows(), list[CallRow])
    Timeline(await session.run_steps.list(run).to_list())
    Timeline(run)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def answers(session: Session, message: Message) -> None:
    answer_format = AnswerFormat(Words)
    assert_type(AnswerFormat(RateLimits).parse(message), RateLimits)
    assert_type(AnswerFormat(Words, name="words", strict=False).parse("{}"), Words)
    await session.runs.create("thread_1", assistant_id="a", response_format=answer_format.response_format)
    AnswerFormat("Words")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AnswerFormat(Words).parse(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def parameters() -> None:
    RunCreateParams(assistant_id="asst_1", temperature=0.5)
    RunCreateParams(assistant_id="asst_1", temprature=0.5)  # type: ignore[typeddict-unknown-key]  # pyright: ignore[reportCallIssue]


async def token() -> str:
    return "token"


def sessions() -> None:
    Session()
    Session("http://host/v1", "key", organization="o", project="p", timeout=5, max_retries=0, strict=True)
    Session(max_connections=1)
    Session("http://host/v1", token, default_headers={"a": "b"}, default_query={"api-version": "v1"})
    Session(api_key=lambda: "token")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Session(timeout="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Session(api_kye="key")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def assistants(session: Session) -> None:
    tool = FunctionTool(function=Function(name="f"))
    made = await session.assistants.create(model="m", tools=[tool, CodeInterpreterTool(), {"type": "file_search"}])
    assert_type(made, Assistant)
    assert_type(await session.assistants.create(model="m", tools=toolbox.tools, metadata=None), Assistant)
    assert_type(await session.assistants.create(model="m", tools=toolbox), Assistant)
    await session.assistants.create(model="m", tools=print)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(await session.assistants.retrieve("asst_1"), Assistant)
    assert_type(await session.assistants.update("asst_1", name=None), Assistant)
    assert_type(await session.assistants.delete("asst_1"), Deleted)
    assert_type(await session.assistants.list(limit=5).page(), Page[Assistant])
    assert_type(await session.assistants.list(limit=5).to_list(), list[Assistant])
    async for found in session.assistants.list(order="asc"):
        assert_type(found, Assistant)
    await session.assistants.create(model="m", idempotency_key="k")
    await session.assistants.create(model="m", idempotency_key=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await session.assistants.create()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await session.assistants.create(model="m", nmae="n")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await session.assistants.create(model="m", temperature="hot")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(await session.assistants.retrieve(assistant_id="asst_1"), Assistant)
    await session.assistants.list()  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    session.beta  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]  # noqa: B018
    session.runs.create_and_poll()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    session.threads.runs  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]  # noqa: B018
    session.steps  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]  # noqa: B018
    session.runs.list()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    session.messages.list("thread_1").data  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]  # noqa: B018
    session.runs.stream("thread_1", "a")  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
    await session.runs.retrieve("thread_1", "run_1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await session.runs.stream("thread_1", assistant_id="a")  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    with session:  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    session.assistants.list(order="newest")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    session.assistants.list(run_id="run_1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def threads_and_messages(session: Session) -> None:
    thread = await session.threads.create(messages=[{"role": "user", "content": "hi"}], metadata={"a": "b"})
    assert_type(thread, Thread)
    assert_type(await session.threads.create(), Thread)
    message = await session.messages.create(thread.id, role="user", content=[{"type": "text", "text": "hi"}])
    assert_type(message, Message)
    assert_type(message.text, str)
    async for message in session.messages.list(thread.id, run_id="run_1"):
        assert_type(message, Message)
    await session.messages.create(thread.id, role="system", content="hi")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await session.messages.create(thread.id, "user", "hi")  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
    await session.messages.create(thread.id, role="user")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await session.messages.create(thread, role="user", content="hi")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(await session.threads.create_and_run(assistant_id="a", thread={"messages": []}), Run)
    await session.threads.create_and_run(assistant_id="a", additional_messages=[])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def runs(session: Session, run: Run) -> None:
    assert_type(await session.runs.create("thread_1", assistant_id="a", temperature=1, include=["x"]), Run)
    assert_type(await session.threads.create_and_run(assistant_id="a", completion_window="8h"), Run)
    await session.runs.create("thread_1", assistant_id="a", completion_window="1h")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    for one in (session.runs.retrieve, session.runs.cancel):
        assert_type(await one(run), Run)
        assert_type(await one(thread_id="thread_1", run_id="run_1"), Run)
    assert_type(await session.runs.update(run, metadata={"a": "b"}), Run)
    outputs = [ToolOutput(tool_call_id=call.id, output="") for call in run.pending_tool_calls]
    assert_type(await session.runs.submit_tool_outputs(run, outputs), Run)
    assert_type(
        await session.runs.submit_tool_outputs(
            thread_id="thread_1", run_id="run_1", tool_outputs=[{"tool_call_id": "c"}]
        ),
        Run,
    )
    assert_type(await toolbox.answer(run.pending_tool_calls), tuple[ToolOutput, ...])
    async for step in session.run_steps.list(thread_id="thread_1", run_id="run_1", include=["x"], limit=1):
        assert_type(step, RunStep)
    await session.runs.create("thread_1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await session.runs.create("thread_1", assistant_id=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await session.runs.create("thread_1", assistant_id="a", strean=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await session.runs.retrieve("run_1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await session.runs.retrieve("run_1", thread_id="thread_1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await session.runs.retrieve(thread_id=run, run_id="run_1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await session.runs.update(run, temperature=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def options_of_requests(session: Session, run: Run) -> None:
    options: RequestOptions = {"timeout": 5, "extra_headers": {"X-Tenant": "t"}, "extra_body": {"vendor": [1]}}
    assert_type(await session.threads.create(**options), Thread)
    assert_type(await session.runs.create("thread_1", assistant_id="a", extra_query={"a": 1, "b": ["c"]}), Run)
    assert_type(await session.runs.retrieve(run, **options), Run)
    assert_type(await session.runs.submit_tool_outputs(run, [], timeout=5), Run)
    assert_type(await session.runs.list("thread_1", timeout=5).page(), Page[Run])
    session.runs.stream("thread_1", assistant_id="a", deadline=60, **options)
    session.runs.stream_tool_outputs(run, [], deadline=60, timeout=5)
    await session.runs.retrieve(run, timeout="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await session.runs.retrieve(run, extra_header={})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await session.threads.create(extra_headers=[])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def files(session: Session, opened: BinaryIO, pieces: AsyncIterator[bytes]) -> None:
    assert_type(await session.files.create(b"x", purpose="assistants"), File)
    for source in Path("a"), opened, pieces:
        await session.files.create(source, filename="a", purpose="batch", idempotency_key="k", timeout=5)
    await session.files.create(b"x", purpose="vision", expires_after={"anchor": "created_at", "seconds": 3600})
    await session.files.create("a.txt", purpose="vision")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await session.files.create(b"x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await session.files.create(b"x", purpose="sports")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(await session.files.retrieve("file-1"), File)
    assert_type(await session.files.delete("file-1"), Deleted)
    async for file in session.files.list(purpose="vision", limit=10_000):
        assert_type(file, File)
    session.files.list(before="file-1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert_type(await session.files.content("file-1").read(max_bytes=5), bytes)
    async with session.files.content("file-1") as content:
        async for piece in content:
            assert_type(piece, bytes)
    await session.files.content("file-1")  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


async def vector_stores(session: Session, pieces: AsyncIterator[bytes]) -> None:
    store = await session.vector_stores.create(name="n", file_ids=["file-1"], chunking_strategy={"type": "auto"})
    assert_type(store, VectorStore)
    await session.vector_stores.create(nmae="n")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert_type(await session.vector_stores.update("vs_1", name=None), VectorStore)
    page = await session.vector_stores.search("vs_1", query="q", filters={"type": "eq", "key": "a", "value": 1})
    assert_type(page, VectorStoreSearchPage)
    await session.vector_stores.search("vs_1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    file = await session.vector_stores.files.create_and_poll("vs_1", file_id="file-1", attributes={"a": 1.5, "b": True})
    assert_type(file, VectorStoreFile)
    await session.vector_stores.files.create("vs_1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert_type(await session.vector_stores.files.upload_and_poll("vs_1", pieces, deadline=60), VectorStoreFile)
    assert_type(await session.vector_stores.files.retrieve(file), VectorStoreFile)
    assert_type((await session.vector_stores.files.content(file)).text, str)
    async for entry in session.vector_stores.files.list("vs_1", filter="failed"):
        assert_type(entry, VectorStoreFile)
    session.vector_stores.files.list("vs_1", filter="lost")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    batch = await session.vector_stores.file_batches.upload_and_poll("vs_1", [b"x", Path("a")], polling=Polling())
    assert_type(batch, VectorStoreFileBatch)
    assert_type(await session.vector_stores.file_batches.cancel(batch), VectorStoreFileBatch)


async def following(session: Session, run: Run) -> None:
    async with aclosing(session.runs.follow(run, toolbox=toolbox, deadline=60, on_exit="cancel")) as events:
        async for event in events:
            assert_type(event, RunEvent)
            match event:
                case ActionRequired(run=run, tool_calls=calls):
                    assert_type(calls, tuple[FunctionToolCall, ...])
                case RunEnded() | StatusChanged():
                    assert_type(event.run, Run)
                case ToolOutputsSubmitted(outputs=outputs):
                    assert_type(outputs, tuple[ToolOutput, ...])
    assert_type(await session.runs.find_created("thread_1", "job-1"), Run | None)
    assert_type(await session.runs.complete(thread_id="thread_1", run_id="run_1", polling=Polling(first=0.1)), Run)
    session.runs.follow(run, on_exit="stop")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    session.runs.follow(run, deadline="soon")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await session.runs.complete(run, timeout=60)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Polling(0.1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def limits() -> None:
    Session(rate_limits=RateLimits(requests_per_minute=600, tokens_per_minute=90_000, counts_reads=False))
    Session(telemetry=Telemetry(record_content=True))
    Session(telemetry=True)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Session(rate_limits=600)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    RateLimits(600)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def batches(session: Session, stream: AsyncIterator[RunJob]) -> None:
    jobs: list[RunJob] = [
        {"assistant_id": "a", "thread_id": "thread_1", "tools": toolbox},
        {"assistant_id": "a", "thread_id": "thread_1", "idempotency_key": "job-1", "key": "doc-1"},
        {"assistant_id": "a", "thread": {"messages": [{"role": "user", "content": "hi"}]}},
    ]
    async with run_batch(session, jobs, workers=2, toolbox=toolbox) as results:
        async for result in results:
            assert_type(result, BatchResult)
            assert_type(result.row(), ResultRow)
            assert_type(result.run, Run | None)
            assert_type(result.text, str | None)
            assert_type(result.messages, tuple[Message, ...])
        for _ in results:  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
            pass
        assert_type(results.progress, BatchProgress)
        assert_type(results.left, tuple[BatchResult, ...])
    async with run_batch(session, (job for job in jobs)), run_batch(session, stream):
        pass
    async with run_batch(
        session, jobs, ordered=True, window=50, retries=JobRetries(attempts=2), budget_tokens=1000, on_exit="drain"
    ) as results:
        with progress_bar(results, "documents"):
            results.drain()
    run_batch(session, jobs, retries=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    run_batch(session, jobs, on_exit="stop")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    run_batch(session, [{"assistant_id": "a", "key": 1}])  # type: ignore[typeddict-item]  # pyright: ignore[reportArgumentType]
    async for _ in run_batch(session, jobs):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    await run_batch(session, jobs)  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    RunJob(thread_id="thread_1")  # type: ignore[typeddict-item]  # pyright: ignore[reportCallIssue]
    run_batch(session, [{"assistant": "a"}])  # type: ignore[typeddict-item,typeddict-unknown-key]  # pyright: ignore[reportArgumentType]
    run_batch(session, ["hello"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    run_batch(session, jobs, 3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def durable_batches(session: Session, jobs: list[RunJob]) -> None:
    async with DurableBatches.open("batches.db", session, toolbox=toolbox, workers=4, at_once=8) as batches:
        assert_type(batches, DurableBatches)
        batch = await batches.submit(jobs, name="x")
        assert_type(batch, DurableBatch)
        async for result in batch.results():
            assert_type(result, BatchResult)
        assert_type(await (await batches.find("x")).progress(), Progress)
        await batch.cancel()
    async with DurableBatches.open(Path("batches.db")) as batches:
        await batches.submit([{"assistant": "a"}])  # type: ignore[typeddict-item,typeddict-unknown-key]  # pyright: ignore[reportArgumentType]
        await batches.submit(jobs, "x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await work("postgresql://db", session, toolbox=toolbox, deadline=60)
    DurableBatches.open("batches.db", session, worker=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
