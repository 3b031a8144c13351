"""File search from question to citation: through the client, the server, the engine, a model's API and an index."""

from collections.abc import Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import evolve

from openai_runs.backends import (
    Call,
    ChatCompletionsBackend,
    Cite,
    Fail,
    ResponsesBackend,
    Say,
    ScriptedBackend,
    SearchingBackend,
    Wait,
)
from openai_runs.engine.new_vector_stores import new_vector_store
from openai_runs.errors import BadRequestError, RunFailedError, RunIncompleteError
from openai_runs.file_search import Chunking, LocalFileSearch, SQLiteIndex
from openai_runs.following.polling import Polling
from openai_runs.models.message import FileCitation, TextContent
from openai_runs.server import LocalServer
from openai_runs.stores import MemoryStore
from openai_runs.stores.records import Record
from openai_runs.toolbox import Toolbox
from tests.backends.model_stub import ModelStub, stream
from tests.backends.streams import chat_answer, responses_answer

pytestmark = pytest.mark.anyio

QUICK = Polling(first=0.001, longest=0.01)
CONTENT = "step_details.tool_calls[*].file_search.results[*].content"
GUIDE = "\n\n".join(
    f"{name} was founded in {year} by {founder}, who had sold {goods} before."
    for name, year, founder, goods in (
        ("Acme", 1951, "Wile", "anvils"),
        ("Globex", 1996, "Hank Scorpio", "hammocks"),
        ("Initech", 1985, "Bill Lumbergh", "printers"),
    )
).encode()
PADDING = b"\n\n" + b" ".join([b"Nothing happened for years."] * 12) + b"\n\n"
NOTES = b"The office is in Cypress Creek. Its phone number is 555-0131."
QUESTION = "Who founded Globex?"

toolbox = Toolbox(on_error="raise")


@toolbox.tool
async def get_weather(city: str = "Oslo") -> str:
    """Tell the weather."""
    return f"sunny in {city}"


#: The file of the index once it is made: each file that is read takes a process.
_made: list[bytes] = []


@pytest.fixture
async def index(anyio_backend, tmp_path: Path) -> SQLiteIndex:
    """Two stores: one with a guide in small chunks, one with notes."""
    path = tmp_path / "index.db"
    if not _made:
        async with LocalFileSearch(SQLiteIndex(path)) as files:
            guide = PADDING.join(GUIDE.split(b"\n\n"))
            await files.ingest("vs_guide", "file-guide", "guide.md", guide, Chunking(100, 0))
            await files.ingest("vs_notes", "file-notes", "notes.md", NOTES)
        _made.append(path.read_bytes())
    path.write_bytes(_made[0])
    return SQLiteIndex(path)


class Story:
    """A session with a server, and shortcuts."""

    def __init__(self, session: Any) -> None:
        self.session = session

    async def start(self, question: str = QUESTION, *, tools: Sequence[Any] = (), **params: Any) -> Any:
        """A run that searches the stores of assistant and thread."""
        stores = [{"file_search": {"vector_store_ids": [id]}} for id in ("vs_guide", "vs_notes")]
        self.assistant = await self.session.assistants.create(
            model="gpt-4o", tools=[{"type": "file_search"}, *tools], tool_resources=stores[0]
        )
        messages = [{"role": "user", "content": question}]
        self.thread = await self.session.threads.create(messages=messages, tool_resources=stores[1])
        return await self.session.runs.create(self.thread.id, assistant_id=self.assistant.id, **params)

    async def complete(self, run: Any) -> Any:
        return await self.session.runs.complete(run, toolbox=toolbox, polling=QUICK, deadline=30)

    async def answer(self) -> Any:
        [message] = [each async for each in self.session.messages.list(self.thread.id, limit=1)][:1]
        return message

    async def steps(self, run: Any, **options: Any) -> list[Any]:
        listed = self.session.run_steps.list(thread_id=run.thread_id, run_id=run.id, order="asc", **options)
        return [step async for step in listed]


@asynccontextmanager
async def story(backend: Any, index: SQLiteIndex | None, store: MemoryStore | None = None):
    files: Any = "unread" if index is None else LocalFileSearch(index)
    server = LocalServer(backend=backend, files=files, store=store or MemoryStore())
    async with server, server.session() as session:
        stores = [evolve(new_vector_store({}, 0.0), id=id) for id in ("vs_guide", "vs_notes")]  # the API chooses IDs
        await server.engine._ledger.commit([Record("", made) for made in stores])
        yield Story(session)


def citations(message: Any) -> list[FileCitation]:
    [part] = message.content
    assert isinstance(part, TextContent)
    for note in part.text.annotations:
        assert part.text.value[note.start_index : note.end_index] == note.text
    return list(part.text.annotations)


async def cited_chunk(here: Story, run: Any, note: FileCitation) -> Any:
    """The result that a citation means."""
    search, index = map(int, note.text[1:].partition("†")[0].split(":"))
    steps = await here.steps(run, include=[CONTENT])
    calls = [call for step in steps for call in step.tool_calls if call.type == "file_search"]
    return calls[search].file_search.results[index]


async def test_a_question_is_answered_from_a_file(index):
    """Question, search, answer: the citation names the chunk that has the fact, and the file that it is in."""
    async with story(ScriptedBackend(), index) as here:
        run = await here.complete(await here.start())
        searched, written = await here.steps(run)
        answer = await here.answer()
        assert (searched.type, written.type) == ("tool_calls", "message_creation")
        assert answer.text.startswith("Globex was founded in 1996 by Hank Scorpio")
        [note] = citations(answer)
        chunk = await cited_chunk(here, run, note)
    assert note.file_citation.file_id == chunk.file_id == "file-guide"
    assert "Hank Scorpio" in chunk.content[0].text
    [call] = searched.tool_calls
    assert call.file_search.extra["queries"] == [QUESTION]
    assert run.usage.total_tokens > 0


async def test_a_script_tells_what_is_searched_and_cited(index):
    """So that a program which shows citations can be tested."""
    phone = [Say("Call 555-0131"), Cite("555-0131"), Say(".")]
    script = [Call("file_search", {"queries": ["founded Globex", "phone number"]}), phone]
    async with story(ScriptedBackend(script), index) as here:
        run = await here.complete(await here.start())
        answer = await here.answer()
        [note] = citations(answer)
        assert "555-0131" in (await cited_chunk(here, run, note)).content[0].text
        [searched, _] = await here.steps(run)
    files = {result.file_id for result in searched.tool_calls[0].file_search.results}
    assert files == {"file-guide", "file-notes"}  # the assistant's store, and the thread's
    assert answer.text.replace(note.text, " [1]") == "Call 555-0131 [1]."
    assert note.file_citation.file_id == "file-notes"


@pytest.mark.parametrize("include", [(), (CONTENT,)])
async def test_passages_are_shown_if_asked_for(index, include):
    """In the events of the run, in its list of steps, and in a single step."""
    async with story(ScriptedBackend(), index) as here:
        run = await here.complete(await here.start())
        [searched, _] = await here.steps(run, include=include)
        single = await here.session.run_steps.retrieve(searched, include=include)
        params: Any = {"assistant_id": here.assistant.id, "include": include}
        async with here.session.runs.stream(here.thread.id, **params) as events:
            seen = " ".join([repr(event) async for event in events if "step" in type(event).__name__.lower()])
    for step in searched, single:
        assert all(bool(result.content) == bool(include) for result in step.tool_calls[0].file_search.results)
    assert ("anvils" in seen or "Hank Scorpio" in seen) == bool(include)


async def test_the_tools_options_are_obeyed(index):
    """How many results, and with which score; a threshold that nothing reaches finds nothing."""
    async with story(ScriptedBackend(), index) as here:
        shown = []
        await here.complete(await here.start())
        for options in (
            {"max_num_results": 1},
            {"ranking_options": {"score_threshold": 1.0, "ranker": "default_2024_08_21"}},
        ):
            tools = [{"type": "file_search", "file_search": options}]
            run = await here.session.runs.create(here.thread.id, assistant_id=here.assistant.id, tools=tools)
            [searched, _] = await here.steps(await here.complete(run))
            shown.append(searched.tool_calls[0].file_search)
    assert [len(each.results) for each in shown] == [1, 0]
    assert (shown[1].ranking_options.score_threshold, shown[1].ranking_options.ranker) == (1.0, "default_2024_08_21")


@pytest.mark.parametrize("kind", ["chat", "responses"])
async def test_models_behind_an_api_search_here(index, kind):
    """The endpoint sees a function, its output with marks, and in the next run neither."""
    async with ModelStub() as stub:
        backend = ChatCompletionsBackend(stub.url) if kind == "chat" else ResponsesBackend(stub.url)
        async with story(backend, index) as here:
            run = await here.complete(await here.start(tools=toolbox.tools))
            steps = await here.steps(run)
            answer = await here.answer()
            await here.session.messages.create(here.thread.id, role="user", content="Thanks")
            await here.complete(
                await here.session.runs.create(here.thread.id, assistant_id=here.assistant.id, tools=[])
            )
    assert [[call.type for call in step.tool_calls] for step in steps] == [["file_search"], ["function"], []]
    assert "sunny in Oslo" in answer.text
    assert {note.file_citation.file_id for note in citations(answer)} == {"file-guide"}
    first, second, third = stub.bodies
    assert "file_search" in str(first["tools"])
    assert "【0:0†" in str(second)
    assert "sunny in Oslo" in str(second)
    assert "vs_guide" not in str(second)
    told = str(third.get("messages") or third.get("input"))
    assert "queries" not in told
    assert "【" not in told


async def test_a_run_that_must_search(index):
    """``tool_choice`` forces one search; without a vector store the run is refused, since it could find nothing."""
    forced: Any = {"type": "file_search"}
    plain: Any = {"tools": [{"type": "file_search"}], "tool_choice": forced}
    async with ModelStub() as stub, story(ChatCompletionsBackend(stub.url), index) as here:
        run = await here.complete(await here.start(tool_choice=forced, tools=toolbox.tools))
        assert [step.type for step in await here.steps(run)] == ["tool_calls", "message_creation"]
        assistant = await here.session.assistants.create(model="m")
        thread = await here.session.threads.create(messages=[{"role": "user", "content": "Hi"}])
        with pytest.raises(BadRequestError, match="tool_choice"):
            await here.session.runs.create(thread.id, assistant_id=assistant.id, **plain)
    assert [body["tool_choice"] for body in stub.bodies] == [
        {"type": "function", "function": {"name": "file_search"}},
        "auto",
    ]


async def test_without_local_files_the_backend_decides():
    """As before: an endpoint without file search refuses the run, loudly."""
    async with story(ChatCompletionsBackend("http://127.0.0.1:1/v1"), None) as here:
        with pytest.raises(BadRequestError, match="file_search"):
            await here.start()


async def test_a_crash_after_the_search(index):
    """The next engine searches again, and there is one step of it and one message."""
    store, reached = MemoryStore(), anyio.Event()

    def script(request: Any) -> Any:
        if not request.rounds:
            return Call("file_search", {"queries": [QUESTION]})
        reached.set()
        return [Say("It was"), Wait()]

    async with story(ScriptedBackend(script), index, store) as here:
        run = await here.start()
        with anyio.fail_after(20):
            await reached.wait()
    async with story(ScriptedBackend(), index, store) as again:
        again.thread = here.thread
        run = await again.complete(await again.session.runs.retrieve(run))
        assert [step.type for step in await again.steps(run)] == ["tool_calls", "message_creation"]
        answer = await again.answer()
        assert "Hank Scorpio" in answer.text
        assert len(citations(answer)) == 1


async def test_limits_of_a_run_hold_across_its_searches(index):
    """The run ends as ``incomplete``, with the search as its last step."""
    async with story(ScriptedBackend([Call("file_search", {"queries": ["a b c d e f"]})]), index) as here:
        run = await here.start("Who? " * 300, max_prompt_tokens=256)
        with pytest.raises(RunIncompleteError, match="max_prompt_tokens"):
            await here.complete(run)
        assert [step.type for step in await here.steps(run)] == ["tool_calls"]


async def test_a_model_that_fails_after_a_search(index):
    """The run has failed, and its search is still to be seen."""
    script = [Call("file_search", {"queries": ["Globex"]}), Fail("rate_limit_exceeded", "Slow down!")]
    async with story(ScriptedBackend(script), index) as here:
        run = await here.start()
        with pytest.raises(RunFailedError, match="Slow down!"):
            await here.complete(run)
        [searched] = await here.steps(run)
    assert searched.status == "completed"


async def test_weak_models_are_helped(index):
    """A search comes first, and the best source is cited if the model cites nothing."""
    async with LocalFileSearch(index) as files:
        backend = SearchingBackend(ScriptedBackend(lambda _: Say("By Hank Scorpio.")), files, search_first=True)
        async with story(backend, None) as here:
            run = await here.complete(await here.start())
            answer = await here.answer()
            [note] = citations(answer)
            assert "Hank Scorpio" in (await cited_chunk(here, run, note)).content[0].text
    assert answer.text == f"By Hank Scorpio. {note.text}"


@pytest.mark.parametrize("kind", ["chat", "responses"])
async def test_marks_are_annotated_while_they_are_streamed(index, kind):
    """However the endpoint cuts them: what was read along is what is kept."""
    text = "It was Hank 【0:0†guide.md】, or 【7:7†nobody】."
    whole = chat_answer if kind == "chat" else responses_answer
    call = [("file_search", '{"queries": ["Who founded Globex?"]}')]
    async with ModelStub(stream(whole("", call)), stream(whole(text))) as stub:
        backend = ChatCompletionsBackend(stub.url) if kind == "chat" else ResponsesBackend(stub.url)
        async with story(backend, index) as here:
            run = await here.start()
            await here.complete(run)
            answer = await here.answer()
    assert answer.text == text
    [note] = citations(answer)
    assert (note.text, note.file_citation.file_id) == ("【0:0†guide.md】", "file-guide")
