"""What the pages show: all runs, one run, one thread."""

from collections.abc import AsyncIterator

import anyio
import pytest
from markupsafe import escape

from openai_runs import Session
from openai_runs.backends import Call, Fail, Say, ScriptedBackend, Wait
from openai_runs.backends.model_backend import ModelRequest
from openai_runs.backends.scripted import Stop, Turn
from openai_runs.engine import ManualClock
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.run_step import RunStep
from openai_runs.server import Limits, LocalServer
from openai_runs.server.console import pages
from openai_runs.stores import MemoryStore
from tests.server.console.browser import Browser, browsing

pytestmark = pytest.mark.anyio

HOSTILE = "<script>alert(1)</script> [bold]x[/bold] \u202eevil\u202c"
SHOWN = "<script>alert(1)</script> [bold]x[/bold] [U+202E]evil[U+202C]"


def script(request: ModelRequest) -> Turn:
    """Does as the user says."""
    said = next(item.text for item in reversed(request.items) if isinstance(item, Message))
    match said:
        case "fail":
            return Fail(message=HOSTILE)
        case "stop":
            return [Say("so far"), Stop("max_tokens")]
        case "write":
            return [Say(HOSTILE), Wait()]
        case "write a call":
            return [Call("get_weather", '{"city": "Os'), Wait()]
        case "call" if isinstance(request.items[-1], Message):
            return Call("get_weather", {"city": HOSTILE})
        case _:
            return Say(said)


@pytest.fixture
async def served(anyio_backend: str) -> AsyncIterator[tuple[Session, Browser]]:
    async with (
        LocalServer(backend=ScriptedBackend(script)) as server,
        server.session() as session,
        browsing(server) as browser,
    ):
        yield session, browser


async def started(session: Session, *texts: str, ended: bool = True, **fields: object):
    """Runs on threads of their own, with these messages."""
    assistant = await session.assistants.create(model="gpt-x", name=HOSTILE, instructions="Be <b>kind</b>.")
    made = []
    for text in texts:
        thread = {"messages": [{"role": "user", "content": text}]}
        run = await session.threads.create_and_run(assistant_id=assistant.id, thread=thread, **fields)
        while ended and run.status in ("queued", "in_progress"):
            run = await session.runs.retrieve(run)
        made.append(run)
    return made


async def begun_step(session: Session, run: Run) -> RunStep:
    """The first step of a run, once it has one."""
    while not (steps := await session.run_steps.list(run).to_list()):
        pass
    return steps[0]


class TestRuns:
    async def test_the_list(self, served: tuple[Session, Browser]):
        """The newest first, with what is known of each; what people have written is text."""
        session, browser = served
        assert "No runs yet" in await browser.open("/")
        made = await started(session, "Hi", "fail")
        text = await browser.open("/")
        assert text.index(f"row-{made[1].id}") < text.index(f"row-{made[0].id}")
        assert SHOWN in browser.shown
        assert "<script>alert" not in text
        assert 'data-refresh="1000"' not in text
        waiting = (await started(session, "call"))[0]
        assert f'data-status="requires_action" data-name="{waiting.id}"' in await browser.open("/")
        assert 'data-refresh="1000"' in browser.text

    async def test_filters(self, served: tuple[Session, Browser]):
        """By status, or all that have not ended."""
        session, browser = served
        done, failed, waiting = await started(session, "Hi", "fail", "call")
        text = await browser.open("/")
        assert f'<small title="{escape(SHOWN)}">server_error</small>' in text
        for status, run in (
            ("completed", done),
            ("failed", failed),
            ("requires_action", waiting),
            ("unfinished", waiting),
        ):
            text = await browser.open(f"/?status={status}")
            assert [each.id for each in (done, failed, waiting) if each.id in text] == [run.id]
        assert "No runs here" in await browser.open("/?status=expired")
        await browser.open("/?status=<b>")
        assert (browser.status, "There is no status '<b>'" in browser.shown) == (400, True)

    @pytest.mark.parametrize("status", ["", "completed"])
    async def test_paging(self, served: tuple[Session, Browser], monkeypatch: pytest.MonkeyPatch, status: str):
        """Each run is on one page."""
        monkeypatch.setattr(pages, "_SHOWN_RUNS", 2)
        session, browser = served
        made = await started(session, *["Hi"] * 5)
        path, seen = f"/?status={status}", []
        for _ in range(3):
            text = await browser.open(path)
            seen.append([run.id for run in reversed(made) if f"row-{run.id}" in text])
            if 'rel="next"' in text:
                path = text.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
        ids = [run.id for run in reversed(made)]
        assert seen == [ids[:2], ids[2:4], ids[4:]]
        assert 'rel="next"' not in text
        assert "Newest" in text
        await browser.open("/?after=run_nowhere")
        assert browser.status == 400

    async def test_looking_far(self, served: tuple[Session, Browser], monkeypatch: pytest.MonkeyPatch):
        """A request looks at so many runs only, and the next one goes on from there."""
        monkeypatch.setattr(pages, "_LOOKED_AT", 100)
        session, browser = served
        failed, *_ = await started(session, "fail")
        await started(session, *["Hi"] * 100, ended=False)
        text = await browser.open("/?status=failed")
        assert failed.id not in text
        path = text.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
        assert failed.id in await browser.open(path)

    async def test_an_assistant_that_was_deleted(self, served: tuple[Session, Browser]):
        """Its runs stay, with its ID."""
        session, browser = served
        (run,) = await started(session, "Hi")
        await session.assistants.delete(run.assistant_id)
        assert run.assistant_id in await browser.open("/")
        unnamed = await session.assistants.create(model="gpt-x")
        await session.threads.create_and_run(assistant_id=unnamed.id)
        assert unnamed.id in await browser.open("/")


class TestRun:
    async def test_a_run_of_less_than_a_second(self, anyio_backend: str):
        """It is shown in milliseconds, and in no queue where it has not waited; a later server knows neither."""
        clock, store = ManualClock(1_800_000_000.8), MemoryStore()

        def turn(_: ModelRequest) -> Turn:
            clock.advance(0.3)
            return Say("Hi.")

        async with (
            LocalServer(backend=ScriptedBackend(turn), clock=clock, store=store) as server,
            server.session() as session,
            browsing(server) as browser,
        ):
            (run,) = await started(session, "Hello")
            assert run.completed_at is not None
            assert (run.completed_at - run.created_at).total_seconds() == 1  # as the API has it
            await browser.open("/")
            assert " 300 ms " in browser.shown
            text = await browser.open(f"/console/runs/{run.id}")
            assert "Took 300 ms " in browser.shown
            assert "queued" not in browser.shown
            assert text.count('height="1"') == 1
            assert "0 150 ms 300 ms message" in browser.shown
        async with LocalServer(clock=clock, store=store) as server, browsing(server) as browser:
            text = await browser.open(f"/console/runs/{run.id}")
            assert "Took \N{EN DASH} Tokens" in browser.shown
            assert "queued" not in browser.shown
            assert text.count('height="1"') == 0

    async def test_a_run_with_a_call(self, served: tuple[Session, Browser]):
        """The call with its arguments, then its output, then the answer; all as text."""
        session, browser = served
        (run,) = await started(session, "call", metadata={"<i>order</i>": "<i>7</i>"})
        text = await browser.open(f"/console/runs/{run.id}")
        for shown in ("get_weather waits for its output", f'"city": "{SHOWN}"', "<i>order</i> <i>7</i>"):
            assert shown in browser.shown
        assert 'data-refresh="1000"' in text
        assert "<script>alert" not in text
        (call,) = run.pending_tool_calls
        await session.runs.submit_tool_outputs(run, [{"tool_call_id": call.id, "output": HOSTILE}])
        while run.status != "completed":
            run = await session.runs.retrieve(run)
        text = await browser.open(f"/console/runs/{run.id}")
        assert browser.shown.count(SHOWN) == 3  # the assistant's name, the argument, the output
        assert "waits for its output" not in text
        assert f"{run.usage.total_tokens:,} {run.usage.prompt_tokens:,} read" in browser.shown
        assert "data-refresh" not in text
        assert "Be <b>kind</b>." in browser.shown
        assert "<b>" not in text

    @pytest.mark.parametrize(
        ("said", "shown"), [("fail", f"server_error {SHOWN}"), ("stop", "It ended early: max completion tokens.")]
    )
    async def test_why_it_ended(self, served: tuple[Session, Browser], said: str, shown: str):
        """The error, or what was used up."""
        session, browser = served
        (run,) = await started(session, said)
        await browser.open(f"/console/runs/{run.id}")
        assert shown in browser.shown

    async def test_the_conversation(self, served: tuple[Session, Browser]):
        """What a run has said, and what was said before it, and not what came later."""
        session, browser = served
        (run,) = await started(session, "first")
        await session.messages.create(run.thread_id, role="user", content="second")
        later = await session.runs.create(run.thread_id, assistant_id=run.assistant_id)
        while later.status != "completed":
            later = await session.runs.retrieve(later)
        await browser.open(f"/console/runs/{run.id}")
        assert "second" not in browser.shown
        text = await browser.open(f"/console/runs/{later.id}")
        conversation = text[text.index('id="conversation"') :]
        assert conversation.index("first") < conversation.index("second")
        assert f'href="/console/runs/{run.id}"' in conversation

    async def test_many_steps(self, served: tuple[Session, Browser], monkeypatch: pytest.MonkeyPatch):
        """Pages of steps are joined, up to a limit."""
        session, browser = served
        (run,) = await started(session, "call")
        engine_page = pages.PageQuery
        monkeypatch.setattr(pages, "PageQuery", lambda **options: engine_page(**{**options, "limit": 1}))
        for _ in range(2):
            (call,) = run.pending_tool_calls
            run = await session.runs.submit_tool_outputs(run, [{"tool_call_id": call.id, "output": "x"}])
            while run.status in ("queued", "in_progress"):
                run = await session.runs.retrieve(run)
            if run.status == "completed":
                break
        text = await browser.open(f"/console/runs/{run.id}")
        assert text.count('<li id="step_') == 2
        monkeypatch.setattr(pages, "_SHOWN_STEPS", 1)
        text = await browser.open(f"/console/runs/{run.id}")
        assert text.count('<li id="step_') == 1
        assert "These are the first 1 steps; there are more." in browser.shown

    async def test_its_settings(self, served: tuple[Session, Browser]):
        """What the run was told beside its instructions, its tools too; what they say is text."""
        session, browser = served
        parameters = {"type": "object", "properties": {"city": {"type": "string", "description": HOSTILE}}}
        tool = {"type": "function", "function": {"name": "get_weather", "parameters": parameters}}
        (run,) = await started(session, "Hi", temperature=0.25, tools=[tool])
        text = await browser.open(f"/console/runs/{run.id}")
        assert "temperature 0.25 " in browser.shown
        assert 'tool: get_weather { "name": "get_weather", "parameters": {' in browser.shown
        assert f'"description": "{SHOWN}"' in browser.shown
        assert "<script>alert" not in text

    async def test_what_comes_next(self, served: tuple[Session, Browser]):
        """A run that has ended leads to a new one on its thread, which another one would have to wait for."""
        session, browser = served
        done, waiting = await started(session, "Hi", "call")
        link = "/console/start?thread={}"
        assert link.format(done.thread_id) in await browser.open(f"/console/runs/{done.id}")
        assert link.format(waiting.thread_id) not in await browser.open(f"/console/runs/{waiting.id}")

    async def test_no_such_run(self, served: tuple[Session, Browser]):
        """It says which."""
        _, browser = served
        await browser.open("/console/runs/%3Cb%3E")
        assert (browser.status, "No run found with id '<b>'." in browser.shown) == (404, True)


class TestFinding:
    async def test_by_id(self, served: tuple[Session, Browser]):
        """An ID from a log leads to the page of its run or its thread."""
        session, browser = served
        (run,) = await started(session, "Hi")
        for id in run.id, run.thread_id:
            assert 'action="/console/find"' in await browser.open("/")
            assert f'<span class="id">{id}</span>' in await browser.open(f"/console/find?id=%20{id}")

    @pytest.mark.parametrize("query", ["", "?id=", "?id=%3Cb%3E"])
    async def test_nothing(self, served: tuple[Session, Browser], query: str):
        """It says what it has looked for."""
        _, browser = served
        assert "<b>" not in await browser.open(f"/console/find{query}")
        assert (browser.status, "There is no run and no thread '" in browser.shown) == (404, True)


class TestThread:
    async def test_a_conversation(self, served: tuple[Session, Browser], monkeypatch: pytest.MonkeyPatch):
        """In order, the latest messages first to be seen, with a way to those before, and its runs."""
        monkeypatch.setattr(pages, "_SHOWN_MESSAGES", 2)
        session, browser = served
        (run,) = await started(session, HOSTILE)
        await session.messages.create(run.thread_id, role="user", content="and then?")
        text = await browser.open(f"/console/threads/{run.thread_id}")
        assert text.index("alert(1)") < text.index("and then?")
        assert SHOWN in browser.shown
        assert f'href="/console/runs/{run.id}"' in text
        earlier = text.split("?after=")[1].split('"')[0]
        text = await browser.open(f"/console/threads/{run.thread_id}?after={earlier}")
        assert "and then?" not in text
        assert "Earlier messages" not in text

    async def test_an_empty_thread(self, served: tuple[Session, Browser]):
        """It has no messages, and no table of runs."""
        session, browser = served
        thread = await session.threads.create(metadata={"<i>who</i>": "me"})
        assert "<table" not in await browser.open(f"/console/threads/{thread.id}")
        assert "<i>who</i> me" in browser.shown
        assert "No messages." in browser.shown


@pytest.mark.parametrize("page", ["runs", "threads"])
async def test_what_is_being_written(served: tuple[Session, Browser], page: str):
    """A page that is opened meanwhile has what there is so far, and says where the rest belongs."""
    session, browser = served
    writing, calling = await started(session, "write", "write a call", ended=False)
    step = await begun_step(session, writing)
    text = await browser.open(f"/console/{page}/{writing.id if page == 'runs' else writing.thread_id}")
    assert browser.shown.count(SHOWN) == (3 if page == "runs" else 2)  # the assistant's name is another
    assert text.count(f'data-written="{step.message_id}-0"') == browser.shown.count(SHOWN) - 1
    assert f'data-feed="/console/runs/{writing.id}/changes"' in text or page == "threads"
    step = await begun_step(session, calling)
    text = await browser.open(f"/console/runs/{calling.id}")
    assert f'data-written="{step.id}-0">{{&#34;city&#34;: &#34;Os</pre>' in text
    assert "waits for its output" not in browser.shown
    for run in writing, calling:
        await session.runs.cancel(run)
        while "data-feed" in (text := await browser.open(f"/console/runs/{run.id}")):
            pass
        assert "data-written" not in text


class SlowToAnswer(MemoryStore):
    """A store that says late that it has taken the end of a run, which others can read already."""

    def __init__(self) -> None:
        super().__init__()
        self.ended, self.go_on = anyio.Event(), anyio.Event()

    async def commit(self, changes):
        await super().commit(changes)
        if any(isinstance(change.value, Run) and change.value.status.is_terminal for change in changes):
            self.ended.set()
            await self.go_on.wait()


@pytest.mark.parametrize("page", ["runs", "threads", ""])
async def test_a_run_that_has_just_ended(anyio_backend: str, page: str):
    """A page is read again until nothing on it can change: texts and times are final a moment after the run is."""
    store = SlowToAnswer()
    async with (
        LocalServer(backend=ScriptedBackend(script), store=store) as server,
        server.session() as session,
        browsing(server) as browser,
    ):
        [run] = await started(session, "write", ended=False)
        await begun_step(session, run)
        await session.runs.cancel(run)
        await store.ended.wait()
        path = f"/console/{page}/{run.id if page == 'runs' else run.thread_id}" if page else "/"
        text = await browser.open(path)
        store.go_on.set()
        assert '<span class="badge cancelled"' in text
        assert 'data-refresh="1000"' in text
        while "data-refresh" in text:
            text = await browser.open(path)
        assert '<span class="badge cancelled"' in text
        assert "data-written" not in text
        assert text.count(str(escape(SHOWN))) == {"runs": 3, "threads": 2, "": 1}[page]


async def test_limits_of_the_owner():
    """They stand below the runs, with what is used of them; whoever has none sees none."""
    limits = Limits(active_runs=3, tokens_per_day=100_000)
    async with LocalServer(limits=limits) as server, browsing(server) as browser, server.session() as session:
        [run] = await started(session, "Hello")
        await browser.open("/")
        assert f"Active runs 0 of 3 Tokens today (UTC) {run.usage.total_tokens} of 100,000" in browser.shown
        server.engine.limits.replace({"": Limits()})
        await browser.open("/")
        assert "of 100,000" not in browser.shown
