"""Runs and steps as pages show them: times, bars, calls, texts."""

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from openai_runs import Message, Run, RunStep, load
from openai_runs.models.lines import end_of
from openai_runs.models.tool import Function, FunctionTool
from openai_runs.server.console import views
from openai_runs.server.console.views import Bar, Texts, lasted, pretty, seconds_of, settings, ticks, timeline
from tests.following.story import run

CREATED = 1_700_000_000
NOW = datetime.fromtimestamp(CREATED + 20, UTC)


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(CREATED + seconds, UTC)


def a_run(status: str = "completed", **fields: object) -> Run:
    times = dict.fromkeys(["started_at", "completed_at", "failed_at", "cancelled_at", "expires_at"])
    return load(run(status, **{**times, "created_at": CREATED, **fields}), Run)


def a_step(created: int, details: dict, status: str = "completed", **fields: object) -> RunStep:
    step = {
        "id": f"step_{created}",
        "object": "thread.run.step",
        "created_at": CREATED + created,
        "thread_id": "thread_1",
        "run_id": "run_1",
        "assistant_id": "asst_1",
        "type": details["type"],
        "status": status,
        "step_details": details,
        "last_error": None,
        "usage": None,
    }
    return load({**step, **fields}, RunStep)


def calls(*made: dict) -> dict:
    return {"type": "tool_calls", "tool_calls": list(made)}


WRITES = {"type": "message_creation", "message_creation": {"message_id": "msg_1"}}


def test_the_end_of_a_run():
    """The time that fits the status; of a run that has not ended there is none, and it takes until now."""
    done = a_run(completed_at=CREATED + 5)
    assert (end_of(done), seconds_of(done, NOW)) == (done.completed_at, 5)
    expired = a_run("expired", expires_at=CREATED + 9)
    assert seconds_of(expired, NOW) == 9
    waiting = a_run("requires_action", expires_at=CREATED + 600)
    assert (end_of(waiting), seconds_of(waiting, NOW)) == (None, 20)
    assert seconds_of(waiting, NOW - timedelta(hours=1)) is None  # the clock was set


def test_what_whole_seconds_do_not_tell():
    """Of less than two seconds they tell nothing; with fractions, a run of 0.3 seconds took 0.3 seconds."""
    assert seconds_of(a_run(completed_at=CREATED + 1), NOW) is None
    assert seconds_of(a_run(completed_at=CREATED + 2), NOW) == 2
    assert seconds_of(a_run("in_progress"), NOW - timedelta(seconds=19)) == 1
    times = {"created_at": at(0.5), "completed_at": at(0.8)}
    assert seconds_of(evolve(a_run(completed_at=CREATED + 1), **times), NOW) == pytest.approx(0.3)
    assert [lasted(seconds) for seconds in (None, 0, 0.3, 1, 65)] == [
        "\N{EN DASH}",
        "1 ms",
        "300 ms",
        "1 s",
        "1 min 5 s",
    ]


class TestTimeline:
    def test_steps_over_time(self):
        """Each bar stands where its step was, and the queue is before them, whenever the run was resumed."""
        call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}", "output": None}}
        steps = [
            a_step(2, calls(call), completed_at=CREATED + 7, usage={"total_tokens": 9}),
            a_step(8, WRITES, "in_progress"),
        ]
        message = load({"id": "msg_1", "created_at": CREATED, "thread_id": "t", "role": "assistant"}, Message)
        queued, rows = timeline(a_run("in_progress", started_at=CREATED + 8), steps, [message], NOW)
        assert queued == Bar(0, 10)
        assert [(row.title, row.bar, row.seconds, row.tokens) for row in rows] == [
            ("tool calls", Bar(10, 25), 5, 9),
            ("message", Bar(40, 60), 12, None),
        ]
        assert (rows[0].message, rows[1].message) == (None, message)

    def test_nothing_yet(self):
        """A run in the queue has that one bar; one that begins at once has none."""
        assert timeline(a_run("queued", started_at=None), [], [], NOW) == (Bar(0, 100), ())
        assert timeline(a_run("in_progress", started_at=CREATED), [], [], NOW) == (None, ())

    def test_a_short_run(self):
        """It has a queue only if it has waited there, and bars only where it is known when the steps were."""
        step = a_step(1, WRITES, completed_at=CREATED + 1)
        queued, (row,) = timeline(a_run(started_at=CREATED + 1, completed_at=CREATED + 1), [step], [], NOW)
        assert (queued, row.bar, row.seconds) == (None, None, None)
        run = evolve(a_run(started_at=CREATED, completed_at=CREATED), created_at=at(0.5), completed_at=at(0.9))
        exact = evolve(step, created_at=at(0.6), completed_at=at(0.8))
        queued, (row,) = timeline(evolve(run, started_at=at(0.52)), [exact], [], NOW)
        assert (queued, row.bar, row.seconds) == (None, Bar(25, 50), pytest.approx(0.2))
        queued, _ = timeline(evolve(run, started_at=at(0.6)), [exact], [], NOW)
        assert queued == Bar(0, 25)

    def test_an_error(self):
        """It says why a step failed."""
        error = {"code": "server_error", "message": "no model"}
        _, (row,) = timeline(a_run(), [a_step(1, WRITES, "failed", last_error=error)], [], NOW)
        assert row.error == "server_error: no model"

    @given(st.integers(-10, 50), st.integers(-10, 50), st.integers(0, 40))
    def test_bars_stay_on_the_line(self, start: int, end: int, length: int):
        """Whatever the clocks of a store's past say."""
        step = a_step(start, WRITES, completed_at=CREATED + end)
        _, (row,) = timeline(a_run(completed_at=CREATED + length), [step], [], NOW)
        assert (row.bar is None) is (length < 2)
        if row.bar is None:
            return
        assert row.bar.start >= 0
        assert row.bar.length > 0
        assert row.bar.start + row.bar.length <= 100.01


def test_calls_of_each_type():
    """Code with what it printed, searches with what they found, and types that are not known yet, as they came."""
    code = {"input": "1+1", "outputs": [{"type": "logs", "logs": "2"}, {"type": "image", "image": {"file_id": "f"}}]}
    found = [{"file_id": "f", "file_name": "a.txt", "score": 0.5}]
    made = calls(
        {"id": "c1", "type": "code_interpreter", "code_interpreter": code},
        {"id": "c2", "type": "file_search", "file_search": {"results": found}},
        {"id": "c3", "type": "file_search", "file_search": {"results": []}},
        {"id": "c4", "type": "file_search", "file_search": {}},
        {"id": "c5", "type": "browser", "url": "x"},
    )
    _, (row,) = timeline(a_run(), [a_step(1, made)], [], NOW)
    assert [(call.name, call.output) for call in row.calls] == [
        ("code_interpreter", "2\n(image)"),
        ("file_search", "0.50  a.txt"),
        ("file_search", "nothing found"),
        ("file_search", None),
        ("browser", None),
    ]
    assert '"url": "x"' in row.calls[-1].arguments


def test_settings():
    """Those that a run has, each in the API's words; structured ones are indented."""
    told = ("id", "created_at", "thread_id", "assistant_id", "status")
    bare = {name: value for name, value in run("completed").items() if name in told}
    assert settings(load(bare, Run)) == ()
    tools = [
        {"type": "code_interpreter"},
        {"type": "file_search", "file_search": {"max_num_results": 3}},
        {"type": "function", "function": {"name": "f"}},
        {"type": "browser", "browser": "x"},
    ]
    full = {**bare, "temperature": 0.5, "tool_choice": "auto", "response_format": {"type": "json_object"}}
    assert [(each.name, each.text, each.is_short) for each in settings(load({**full, "tools": tools}, Run))] == [
        ("temperature", "0.5", True),
        ("tool_choice", "auto", True),
        ("response_format", '{\n  "type": "json_object"\n}', False),
        ("tool: code_interpreter", "", True),
        ("tool: file_search", '{\n  "max_num_results": 3\n}', False),
        ("tool: f", '{\n  "name": "f"\n}', False),
        ("tool: browser", "x", True),
    ]


def test_large_settings():
    """They leave room for the rest of the page, however many tools there are, and however deep their parameters."""
    deep: dict[str, object] = {}
    for _ in range(1_000):
        deep = {"properties": deep}
    functions = [{"name": "deep", "parameters": deep}, *[{"name": "long", "description": "x" * 30_000}] * 120]
    tools = [FunctionTool(function=load(each, Function)) for each in functions]
    shown = settings(evolve(a_run(), tools=tuple(tools)))
    assert len(shown) == views.MOST_SETTINGS
    by_name = {each.name: each.text for each in shown}
    assert by_name["tool: deep"] == "…"
    assert len(by_name["tool: long"]) == views.MOST_OF_SETTING + 1


def test_ticks():
    """The beginning, the middle and the end, if that is known."""
    assert ticks(None) == ()
    assert ticks(65) == ("0", "32.5 s", "1 min 5 s")
    assert ticks(0) == ("0", "1 ms", "1 ms")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [('{"a":1}', '{\n  "a": 1\n}'), ('{"a":', '{"a":'), ("[" * 10_000, "[" * 10_000), (f"[{'1,' * 20_000}1]",) * 2],
)
def test_arguments(arguments: str, shown: str):
    """They are indented, if a model has written JSON."""
    assert pretty(arguments) == shown


class TestTexts:
    def test_characters_that_nobody_sees(self):
        """What turns the order of others is shown by its number; line breaks, letters and emoji stay."""
        assert Texts().shown("a\u202eb\x00\n\t👩\u200d🔬 שלום") == "a[U+202E]b[U+0000]\n\t👩\u200d🔬 שלום"

    def test_long_texts(self):
        """Of each, the beginning is shown, as long as all together stay within the limit of a page."""
        assert Texts().shown("x" * views.MOST_OF_TEXT) == "x" * views.MOST_OF_TEXT
        texts = Texts()
        assert texts.shown("x" * (views.MOST_OF_TEXT + 1_000)) == "x" * views.MOST_OF_TEXT + "… (1,000 more characters)"
        shown = [texts.shown("x" * views.MOST_OF_TEXT) for _ in range(30)]
        assert shown[0] == "x" * views.MOST_OF_TEXT
        assert shown[-1] == "… (20,000 more characters)"
        assert texts.shown("") == ""


def test_many_calls_of_one_step():
    """The others are counted."""
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}", "output": None}}
    _, (row,) = timeline(a_run(), [a_step(1, calls(*[call] * 120))], [], NOW)
    assert (len(row.calls), row.more_calls) == (100, 20)
