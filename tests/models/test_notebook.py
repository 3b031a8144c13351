"""What notebooks show: HTML in which whatever was written is text."""

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st

from openai_runs import Session
from openai_runs.models.assistant import Assistant
from openai_runs.models.message import (
    Attachment,
    Message,
    MessageIncompleteDetails,
    MessageRole,
    MessageStatus,
    RefusalContent,
    Text,
    TextContent,
)
from openai_runs.models.notebook import Timeline
from openai_runs.models.page import Page
from openai_runs.models.run import (
    LastError,
    RequiredAction,
    Run,
    RunIncompleteDetails,
    RunStatus,
    SubmitToolOutputs,
    Usage,
)
from openai_runs.models.run_step import (
    CalledFunction,
    CodeInterpreterCall,
    CreatedMessage,
    FunctionStepCall,
    InterpretedCode,
    MessageCreation,
    RunStep,
    RunStepStatus,
    ToolCalls,
)
from openai_runs.models.thread import Thread
from openai_runs.models.tool import FileSearchTool, Function, FunctionCall, FunctionTool, FunctionToolCall

AT = datetime(2026, 1, 1, tzinfo=UTC)
RUN = Run(id="run_1", created_at=AT, thread_id="thread_1", assistant_id="asst_1", status=RunStatus.QUEUED)
USAGE = Usage(prompt_tokens=1_000, completion_tokens=24, total_tokens=1_024)


def step(begin: float, end: float | None = None, **fields: Any) -> RunStep:
    return RunStep(
        id="step_1",
        created_at=AT + timedelta(seconds=begin),
        completed_at=None if end is None else AT + timedelta(seconds=end),
        thread_id="thread_1",
        run_id="run_1",
        type="message_creation",
        status=RunStepStatus.IN_PROGRESS if end is None else RunStepStatus.COMPLETED,
        **{"step_details": MessageCreation(message_creation=CreatedMessage(message_id="msg_1")), **fields},
    )


CALLS = ToolCalls(
    tool_calls=(
        FunctionStepCall(
            id="call_1", function=CalledFunction(name="get_weather", arguments='{"city": "Oslo"}', output="12 degrees")
        ),
        CodeInterpreterCall(id="call_2", code_interpreter=InterpretedCode(input="1 + 1")),
    )
)


@define
class Seen(HTMLParser):
    """What a browser makes of it."""

    tags: list[tuple[str, dict[str, str | None]]] = field(factory=list)
    rows: list[list[str]] = field(factory=list)

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.rows[-1][-1] += data


def seen(value: Any) -> Seen:
    parser = Seen()
    parser.feed(value._repr_html_())
    parser.close()
    return parser


def facts(run: Run) -> dict[str, str]:
    return dict(seen(run).rows)


def test_a_run_is_a_table_of_facts() -> None:
    """What is not known has no row."""
    assert facts(RUN) == {
        "run": "run_1",
        "status": "queued",
        "thread": "thread_1",
        "assistant": "asst_1",
        "created": "2026-01-01 00:00:00 UTC",
    }


def test_a_run_that_has_ended() -> None:
    """Duration, tokens and the reason of a bad end are among the facts; a long text is cut."""
    ended = evolve(
        RUN,
        model="gpt",
        failed_at=AT + timedelta(seconds=2.5),
        usage=USAGE,
        last_error=LastError(code="server_error", message="away " * 200),
        metadata={"job": "7"},
    )
    shown = facts(ended)
    assert shown["model"] == "gpt"
    assert shown["took"] == "2.5 s"
    assert shown["tokens"] == "1,024: 1,000 read, 24 written"
    assert shown["error"].startswith("server_error: away away")
    assert len(shown["error"]) == 300
    assert shown["metadata job"] == "7"
    for reason, told in ("max_prompt_tokens", "max_prompt_tokens"), (None, "no reason given"):
        assert facts(evolve(RUN, incomplete_details=RunIncompleteDetails(reason=reason)))["incomplete"] == told


def test_a_run_that_waits() -> None:
    """The calls to answer are among the facts."""
    call = FunctionToolCall(id="call_1", function=FunctionCall(name="get_weather", arguments='{"city": "Oslo"}'))
    action = RequiredAction(submit_tool_outputs=SubmitToolOutputs(tool_calls=(call,)))
    assert facts(evolve(RUN, required_action=action))["waits for"] == 'get_weather({"city": "Oslo"})'


def test_steps_are_bars_over_time() -> None:
    """Each bar begins and ends where its step does; one without an end goes on, one without a duration is visible."""
    error = LastError(code="server_error", message="Gone.")
    timeline = seen(
        Timeline([step(0, 1, usage=USAGE), step(1, 1), step(1, step_details=CALLS), step(3, 4, last_error=error)])
    )
    assert timeline.rows[1:] == [
        ["step_1", "", "1 s", "1,024", "message msg_1"],
        ["step_1", "", "< 1 s", "", "message msg_1"],
        ["step_1", "", "in_progress", "", 'get_weather({"city": "Oslo"}) -> 12 degrees\ncode_interpreter(1 + 1)'],
        ["step_1", "", "1 s", "", "message msg_1\nserver_error: Gone."],
    ]
    bars = [(float(given["x"]), float(given["width"])) for tag, given in timeline.tags if tag == "rect"]
    assert bars == [(0, 60), (60, 2), (60, 180), (180, 60)]


def test_tool_calls_of_a_step() -> None:
    """Each has a line with its arguments and its output; long ones are cut, and of too many the first are shown."""
    function = CalledFunction(name="f", arguments="x" * 1_000, output="a\nb" + "y" * 1_000)
    calls = ToolCalls(tool_calls=(FunctionStepCall(id="call_1", function=function),) * 120)
    lines = seen(Timeline([step(0, 1, step_details=calls)])).rows[1][-1].split("\n")
    assert len(lines) == 31
    assert lines[0] == f"f({'x' * 299}…) -> a b{'y' * 296}…"
    assert lines[-1] == "90 more calls"


def test_one_step_is_a_timeline() -> None:
    """As the page is that has it alone."""
    assert step(0, 1)._repr_html_() == Timeline([step(0, 1)])._repr_html_()


MESSAGE = Message(
    id="msg_1",
    created_at=AT,
    thread_id="thread_1",
    role=MessageRole.ASSISTANT,
    content=(TextContent(text=Text(value="One.\n\n  Two.")), RefusalContent(refusal="No.")),
)


def test_a_message_is_a_table() -> None:
    """What it says comes last, with its line breaks, each part in a row of its own; what is not known has no row."""
    assert seen(MESSAGE).rows == [
        ["message", "msg_1"],
        ["role", "assistant"],
        ["thread", "thread_1"],
        ["created", "2026-01-01 00:00:00 UTC"],
        ["says", "One.\n\n  Two."],
        ["says", "(refused) No."],
    ]
    details = MessageIncompleteDetails(reason="max_tokens")
    cut = evolve(MESSAGE, run_id="run_1", incomplete_details=details, metadata={"job": "7"})
    rows = seen(evolve(cut, status=MessageStatus.INCOMPLETE, attachments=(Attachment(file_id="file-1"), Attachment())))
    assert {
        "run": "run_1",
        "status": "incomplete",
        "incomplete": "max_tokens",
        "metadata job": "7",
        "attached": "file-1",
    }.items() <= dict(rows.rows).items()


def test_a_long_message_is_cut() -> None:
    """Its beginning is shown, without characters that change what is around them."""
    text = TextContent(text=Text(value="a\u202eb\x1b" + "x" * 30_000))
    [shown] = [value for name, value in seen(evolve(MESSAGE, content=(text,))).rows if name == "says"]
    assert shown.startswith("a\\u202eb\\x1bxxx")
    assert shown.endswith("x… (10,004 more characters)")


def test_pages_of_messages_are_a_conversation() -> None:
    """A row for each message, in the order of the page."""
    page = Page[Message](data=(MESSAGE, evolve(MESSAGE, role=MessageRole.USER, content=())))
    assert seen(page).rows == [
        ["role", "says"],
        ["assistant", "One.\n\n  Two.\n\n(refused) No."],
        ["user", ""],
    ]


def test_an_assistant_is_a_table() -> None:
    """Its instructions come last, with their line breaks; tools have the names of their functions."""
    plain = Assistant(id="asst_1", created_at=AT, model="gpt")
    assert seen(plain).rows == [
        ["assistant", "asst_1"],
        ["model", "gpt"],
        ["created", "2026-01-01 00:00:00 UTC"],
    ]
    full = evolve(
        plain,
        name="Guide",
        description="Knows the way.",
        instructions="Be brief.\nBe kind.",
        tools=(FunctionTool(function=Function(name="get_weather")), FileSearchTool()),
        temperature=0.0,
        metadata={"job": "7"},
    )
    assert seen(full).rows == [
        ["assistant", "asst_1"],
        ["name", "Guide"],
        ["description", "Knows the way."],
        ["model", "gpt"],
        ["created", "2026-01-01 00:00:00 UTC"],
        ["tools", "get_weather, file_search"],
        ["temperature", "0.0"],
        ["metadata job", "7"],
        ["instructions", "Be brief.\nBe kind."],
    ]


def test_a_thread_is_a_table() -> None:
    """It has little to tell."""
    assert seen(Thread(id="thread_1", created_at=AT, metadata={"job": "7"})).rows == [
        ["thread", "thread_1"],
        ["created", "2026-01-01 00:00:00 UTC"],
        ["metadata job", "7"],
    ]


def test_steps_without_times() -> None:
    """The API has whole seconds: steps within one of them have bars, too, and every bar is inside of the picture."""
    bars = [given for tag, given in seen(Timeline([step(0, 0), step(0)])).tags if tag == "rect"]
    assert [(given["x"], given["width"]) for given in bars] == [("0.0", "2.0")] * 2
    [_, last] = [given for tag, given in seen(Timeline([step(0, 9), step(9, 9)])).tags if tag == "rect"]
    assert float(last["x"]) + float(last["width"]) == 240


def test_pages() -> None:
    """A page of steps is a timeline; one that is not of steps or messages alone is shown by its ``repr``."""
    assert Page[RunStep](data=(step(0, 1),))._repr_html_() == Timeline([step(0, 1)])._repr_html_()
    assert Page[RunStep](data=())._repr_html_() is None
    assert Page[Run](data=(RUN,))._repr_html_() is None
    assert Page[Any](data=(RUN, step(0, 1)))._repr_html_() is None
    assert Timeline([])._repr_html_().count("<tr>") == 1


HOSTILE = st.one_of(
    st.text(max_size=60),
    st.lists(
        st.sampled_from(
            ["<script>", "</td>", "<img src=x onerror=alert(1)>", "&lt;", '"', "'", "-->", "$x$", "\x1b[1m"]
        )
    ).map("".join),
)


@given(HOSTILE)
def test_whatever_was_written_is_text(text: str) -> None:
    """It makes no tags and no attributes, and nothing is loaded from elsewhere."""
    error, call = LastError(code=text, message=text), FunctionCall(name=text, arguments=text)
    plain = evolve(RUN, model="m", last_error=LastError(code="c", message="m"), metadata={"k": "v"})
    action = RequiredAction(
        submit_tool_outputs=SubmitToolOutputs(tool_calls=(FunctionToolCall(id="c", function=call),))
    )
    run = evolve(RUN, id=text, status=RunStatus(text), thread_id=text, assistant_id=text, model=text, last_error=error)
    assert seen(evolve(run, metadata={text: text})).tags == seen(plain).tags
    assert len(seen(evolve(run, required_action=action)).rows) == 8
    said = evolve(MESSAGE, id=text, role=MessageRole(text), content=(TextContent(text=Text(value=text)),))
    written = Message(id="", created_at=AT, thread_id="t", role=MessageRole.USER, content=said.content[:1])
    assert [tag for tag, _ in seen(said).tags] == [tag for tag, _ in seen(written).tags]
    assert [tag for tag, _ in seen(Page[Message](data=(said,))).tags].count("td") == 2
    assistant = Assistant(id=text, created_at=AT, model=text, name=text, instructions=text, metadata={text: text})
    assert [tag for tag, _ in seen(assistant).tags].count("td") == 6
    function = CalledFunction(name=text, arguments=text, output=text)
    tools = ToolCalls(tool_calls=(FunctionStepCall(id="c", function=function),))
    for details in tools, MessageCreation(message_creation=CreatedMessage(message_id=text)):
        odd = evolve(step(0, 1), id=text, type=text, status=RunStepStatus(text), step_details=details, last_error=error)
        timeline = seen(Timeline([odd, evolve(odd, completed_at=None)]))
        expected = seen(Timeline([step(0, 1), step(0)]))
        assert [tag for tag, _ in timeline.tags] == [tag for tag, _ in expected.tags]
        assert {name for _, given in timeline.tags for name in given} == {
            "class",
            "fill",
            "height",
            "style",
            "width",
            "x",
        }
        assert {given["fill"] for _, given in timeline.tags if "fill" in given} <= {
            "gray",
            "seagreen",
            "firebrick",
            "steelblue",
        }


@pytest.mark.anyio
async def test_a_run_of_a_server(session: Session) -> None:
    """As a notebook has it: the last expression of a cell."""
    assistant = await session.assistants.create(model="scripted")
    run = await session.threads.create_and_run(
        assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hello"}]}
    )
    run = await session.runs.complete(run)
    assert facts(run)["status"] == "completed"
    timeline = seen(await session.run_steps.list(run).page())
    assert timeline.rows[1][-1].startswith("message msg_")
