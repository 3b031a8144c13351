"""`openai_runs.toolbox`: functions become tool definitions, tool calls become outputs."""

import asyncio
import contextlib
import contextvars
import dataclasses
import enum
import functools
import inspect
import json
import logging
import math
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs import _wire
from openai_runs.errors import ToolError
from openai_runs.models.model import Unknown
from openai_runs.models.tool import FunctionCall, FunctionTool, FunctionToolCall, ToolOutput
from openai_runs.toolbox import Toolbox, memory


def call(name: str, /, *, id: str = "call_1", **arguments: Any) -> FunctionToolCall:
    return wrote(name, json.dumps(arguments), id=id)


def wrote(name: str, arguments: str, *, id: str = "call_1") -> FunctionToolCall:
    return FunctionToolCall(id=id, function=FunctionCall(name=name, arguments=arguments))


async def output_of(toolbox: Toolbox, *calls: FunctionToolCall) -> str:
    (output,) = await toolbox.answer(calls)
    return output.output


async def error_of(toolbox: Toolbox, *calls: FunctionToolCall) -> str:
    report = json.loads(await output_of(toolbox, *calls))
    assert list(report) == ["error"]
    return str(report["error"])


class Unit(enum.StrEnum):
    CELSIUS = "celsius"
    FAHRENHEIT = "fahrenheit"


@dataclasses.dataclass
class Place:
    """Somewhere on Earth."""

    city: str
    near: "list[Place]" = dataclasses.field(default_factory=list)


@attrs.frozen
class Span:
    days: int = attrs.field(validator=attrs.validators.gt(0))


class Sky(TypedDict):
    clouds: float
    rain: NotRequired[bool]


class Wind(msgspec.Struct):
    speed: float


def test_definition_is_what_the_api_takes() -> None:
    """A definition has name, description and parameters, and nothing that the function does not have."""
    toolbox = Toolbox()

    @toolbox.tool
    def count(word: str, limit: int | None = None) -> int:
        """Count a word.

        Args:
            word: What to count.
        """
        return len(word) + (limit or 0)

    toolbox.tool(lambda: "now", name="now")
    (definition, other) = _wire.dump(toolbox.tools)
    assert definition == {
        "type": "function",
        "function": {
            "name": "count",
            "description": "Count a word.",
            "parameters": {
                "type": "object",
                "properties": {
                    "word": {"type": "string", "description": "What to count."},
                    "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
                },
                "required": ["word"],
                "additionalProperties": False,
            },
        },
    }
    assert sorted(other["function"]) == ["name", "parameters"]


def test_strict_is_for_endpoint_and_schema() -> None:
    toolbox = Toolbox()

    @toolbox.tool(strict=True)
    def count(word: str, limit: int = 5) -> int:
        return len(word) + limit

    definition = _wire.dump(toolbox.tools[0])["function"]
    assert definition["strict"] is True
    assert definition["parameters"]["required"] == ["word", "limit"]


# How a function gets into the box.


def test_decorator_leaves_the_function_as_it_is() -> None:
    toolbox = Toolbox()

    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    assert toolbox.tool(add) is add
    assert toolbox.tool(name="sum", description="Sum up.", strict=False)(add) is add
    assert toolbox.tool(add, name="plus") is add
    assert [tool.function.name for tool in toolbox.tools] == ["add", "sum", "plus"]
    assert [tool.function.description for tool in toolbox.tools] == ["Add.", "Sum up.", "Add."]
    assert [tool.function.strict for tool in toolbox.tools] == [None, False, None]
    assert all(isinstance(tool, FunctionTool) for tool in toolbox.tools)


class Finder:
    def find(self, query: str) -> str:
        return query


def ok(x: int) -> int:
    return x


def generator(x: int) -> Iterator[int]:
    yield x


async def async_generator(x: int) -> AsyncIterator[int]:
    yield x


class GeneratorObject:
    def __call__(self, x: int) -> Iterator[int]:
        yield x


@pytest.mark.parametrize(
    "what",
    [generator, async_generator, Finder, Finder(), functools.partial(generator, 1), GeneratorObject(), GeneratorObject],
    ids=["generator", "async generator", "class", "instance", "partial", "generator object", "its class"],
)
def test_tool_is_a_function_with_one_result(what: Callable[..., Any]) -> None:
    """Objects that are not functions, or have no schema, are refused at decoration."""
    toolbox = Toolbox()
    with pytest.raises(TypeError, match=r"a tool is a function that returns its result, not .*: wrap that in one"):
        toolbox.tool(what)
    with pytest.raises(TypeError, match=r"parameter 'self' of Finder.find\(\) has no annotation"):
        toolbox.tool(Finder.find)
    assert toolbox.tools == ()


def test_names_are_unique_and_fit_the_api() -> None:
    """A second tool of a name is refused, and a notebook's reader learns why his cell runs only once."""
    toolbox = Toolbox()
    toolbox.tool(ok)
    with pytest.raises(ValueError, match=r"there is a tool 'ok' already: pass .* make the Toolbox in the same cell"):
        toolbox.tool(ok)
    with pytest.raises(ValueError, match=r"tool name '<lambda>' must be 1 to 64 characters .*: pass another as name="):
        toolbox.tool(lambda: None)
    with pytest.raises(ValueError, match="must be 1 to 64"):
        toolbox.tool(ok, name="o" * 65)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_concurrency": 0}, "max_concurrency must be at least 1: got 0"),
        ({"max_concurrency": None}, "max_concurrency must be a whole number: got None"),
        ({"timeout": "60"}, "timeout must be a number of seconds or None: got '60'"),
        ({"timeout": 0}, "timeout must be more than 0 seconds: got 0"),
        ({"timeout": math.nan}, "timeout must be more than 0 seconds: got nan"),
        ({"on_error": "ignore"}, "on_error must be 'report' or 'raise': got 'ignore'"),
    ],
)
def test_settings_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        Toolbox(**options)


def test_timeout_of_a_tool_is_checked() -> None:
    with pytest.raises(ValueError, match="timeout must be more than 0 seconds: got -1"):
        Toolbox().tool(ok, timeout=-1)


def test_repr_tells_settings_and_tools() -> None:
    toolbox = Toolbox(timeout=None)
    assert repr(toolbox) == "Toolbox(no tools; max_concurrency=64, timeout=None, on_error='report')"
    toolbox.tool(ok)
    toolbox.tool(ok, name="fine")
    assert repr(toolbox) == "Toolbox(ok, fine; max_concurrency=64, timeout=None, on_error='report')"


def test_docstring_parser_is_imported_by_who_has_tools() -> None:
    """Clients without tools do not import the docstring parser."""
    code = "import sys, openai_runs.toolbox; print('docstring_parser' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"False"


# Arguments.


@pytest.mark.anyio
async def test_arguments_arrive_as_what_they_are_annotated_with() -> None:
    toolbox = Toolbox()
    seen: list[Any] = []

    @toolbox.tool
    async def plan(where: Place, span: Span, sky: Sky, wind: Wind | None, unit: Unit, at: datetime) -> None:
        seen.extend([where, span, sky, wind, unit, at])

    await output_of(
        toolbox,
        call(
            "plan",
            where={"city": "Oslo", "near": [{"city": "Moss"}]},
            span={"days": 3},
            sky={"clouds": 1},
            wind={"speed": 2},
            unit="celsius",
            at="2026-08-26T00:00:00Z",
        ),
    )
    assert seen == [
        Place("Oslo", [Place("Moss")]),
        Span(3),
        {"clouds": 1.0},
        Wind(2.0),
        Unit.CELSIUS,
        datetime(2026, 8, 26, tzinfo=UTC),
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    flag=st.booleans(),
    number=st.integers(-(2**70), 2**70),
    ratio=st.floats(allow_nan=False, allow_infinity=False),
    words=st.lists(st.text()),
    free=st.dictionaries(st.text(), json_values),
)
def test_what_goes_in_comes_out(**values: Any) -> None:
    """Decoding JSON into arguments and encoding them again loses nothing."""
    toolbox = Toolbox()

    @toolbox.tool
    async def echo(flag: bool, number: int, ratio: float, words: list[str], free: dict[str, Any]) -> dict[str, Any]:
        return {"flag": flag, "number": number, "ratio": ratio, "words": words, "free": free}

    assert json.loads(asyncio.run(output_of(toolbox, call("echo", **values)))) == values


@pytest.mark.anyio
async def test_defaults_are_the_function_s_own() -> None:
    """Defaults reach the function, also mutable ones and those that JSON cannot express."""
    toolbox = Toolbox()
    seen: list[Any] = []
    unset: Any = object()
    words = ["a"]

    @toolbox.tool
    async def collect(
        near: Place = Place("Oslo"),  # noqa: B008  # users write this, too
        words: list[str] = words,
        limit: int = unset,
    ) -> None:
        seen.append((near, words, limit))

    await output_of(toolbox, call("collect"))
    assert seen == [(Place("Oslo"), ["a"], unset)]
    assert seen[0][1] is words


@pytest.mark.anyio
@pytest.mark.parametrize("text", ["", "{}", " { } "])
async def test_no_arguments_may_be_written_as_nothing_at_all(text: str) -> None:
    toolbox = Toolbox()
    toolbox.tool(lambda: "now", name="now")
    assert await output_of(toolbox, wrote("now", text)) == "now"


@dataclasses.dataclass
class Exact:
    x: int

    def __post_init__(self) -> None:
        if self.x == 1:
            raise ValueError("x must not be 1")
        if self.x == 2:
            raise KeyError("two")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{", "invalid arguments: the JSON ends too early"),
        ("nonsense", "invalid arguments: the JSON is malformed"),
        ("\ud800", "surrogates not allowed"),
        ("[]", "invalid arguments: they must be an object: got an array"),
        ("{}", "invalid arguments: days is missing"),
        ('{"days": "3"}', "invalid arguments: days must be an integer: got a string"),
        ('{"days": 0}', "invalid arguments: days must be an integer >= 1"),
        ('{"days": 1, "near": [{"city": 5}]}', "near[0].city must be a string: got an integer"),
        ('{"days": 1, "dayz": 2}', "invalid arguments: dayz is unknown"),
        ('{"days": 1, "unit": "kelvin"}', "invalid arguments: unit must be one of "),
        ('{"days": 1, "exact": {"x": 1}}', "invalid arguments: exact: x must not be 1"),
        ('{"days": 1, "exact": {"x": 2}}', "invalid arguments: 'two'"),
        ('{"days": 1, "unit": "' + "k" * 9999 + '"}', "characters)"),
    ],
)
async def test_wrong_arguments_are_refused_before_the_call(
    arguments: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The model is told where its arguments are wrong; the log does not quote them."""
    toolbox = Toolbox()

    @toolbox.tool
    async def forecast(
        days: Annotated[int, msgspec.Meta(ge=1)],
        near: list[Place] | None = None,
        unit: Unit = Unit.CELSIUS,
        exact: Exact | None = None,
    ) -> None:
        pytest.fail(f"called with {days} {near} {unit} {exact}")

    error = await error_of(toolbox, wrote("forecast", arguments))
    assert message in error
    assert len(error) < 400
    (record,) = caplog.records
    assert record.getMessage() == "tool 'forecast' failed for call call_1: invalid arguments"
    assert record.exc_info is None


# Outputs.


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("value", "output"),
    [
        ("as it is", "as it is"),
        ("", ""),
        ('"quoted"', '"quoted"'),
        (Unit.CELSIUS, "celsius"),
        (None, "null"),
        (True, "true"),
        (21.5, "21.5"),
        (["grün", ("a", 1)], '["grün",["a",1]]'),
        ({"at": datetime(2026, 8, 26, tzinfo=UTC)}, '{"at":"2026-08-26T00:00:00Z"}'),
        (Place("Oslo"), '{"city":"Oslo","near":[]}'),
        (Span(3), '{"days":3}'),
        (Wind(2), '{"speed":2}'),
        (ToolOutput(tool_call_id="a", output="b"), '{"tool_call_id":"a","output":"b"}'),
        ({"outputs": [ToolOutput(tool_call_id="a", output="b")]}, '{"outputs":[{"tool_call_id":"a","output":"b"}]}'),
        ([Unknown("quark", {"type": "quark", "spin": 0.5})], '[{"type":"quark","spin":0.5}]'),
    ],
)
async def test_outputs_are_strings_as_they_are_and_else_json(value: Any, output: str) -> None:
    toolbox = Toolbox()
    toolbox.tool(lambda: value, name="give")
    (answer,) = await toolbox.answer([call("give", id="call_7")])
    assert answer == ToolOutput(tool_call_id="call_7", output=output)
    assert type(answer.output) is str


@pytest.mark.anyio
@pytest.mark.parametrize("function", ["coroutine", "thread", "awaitable"])
async def test_functions_of_all_kinds(function: str) -> None:
    """A coroutine function runs in the event loop, any other in a thread; both see the caller's context."""
    user = contextvars.ContextVar("user", default="nobody")
    toolbox = Toolbox()

    async def coroutine(x: int) -> list[Any]:
        return [x, user.get(), threading.current_thread() is threading.main_thread()]

    def thread(x: int) -> list[Any]:
        return [x, user.get(), threading.current_thread() is threading.main_thread()]

    @functools.wraps(coroutine)
    def awaitable(*args: Any, **kwargs: Any) -> Any:
        return coroutine(*args, **kwargs)

    toolbox.tool({"coroutine": coroutine, "thread": thread, "awaitable": awaitable}[function], name="tool")
    user.set("Ada")
    assert json.loads(await output_of(toolbox, call("tool", x=1))) == [1, "Ada", function != "thread"]


@pytest.mark.anyio
async def test_bound_method_is_a_tool() -> None:
    toolbox = Toolbox()
    toolbox.tool(Finder().find)
    assert await output_of(toolbox, call("find", query="it")) == "it"


class Searcher:
    """Search everywhere."""

    def __call__(self, query: str, limit: int = 3) -> list[Any]:
        return [query, limit, threading.current_thread() is threading.main_thread()]


class AsyncSearcher:
    async def __call__(self, query: str, limit: int = 3) -> list[Any]:
        """Search everywhere.

        Args:
            query: What for.
        """
        return [query, limit, threading.current_thread() is threading.main_thread()]


def find(query: str, limit: int = 3) -> list[Any]:
    """Search everywhere."""
    return Searcher()(query, limit)


async def search(user: str, query: str, limit: int = 3) -> list[Any]:
    """Search everywhere."""
    return [user, query, limit, threading.current_thread() is threading.main_thread()]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("function", "name", "output"),
    [
        (Searcher(), "Searcher", ["it", 3, False]),
        (AsyncSearcher(), "AsyncSearcher", ["it", 3, True]),
        (functools.partial(search, "ada"), "search", ["ada", "it", 3, True]),
        (functools.partial(search, user="ada"), "search", ["ada", "it", 3, True]),
        (functools.partial(functools.partial(search, user="ada"), limit=5), "search", ["ada", "it", 5, True]),
        (functools.partial(Searcher(), limit=5), "Searcher", ["it", 5, False]),
        (functools.partial(AsyncSearcher().__call__, limit=5), "AsyncSearcher", ["it", 5, True]),
        (functools.cache(find), "find", ["it", 3, False]),
    ],
)
async def test_whatever_can_be_called_is_a_tool(function: Any, name: str, output: list[Any]) -> None:
    """A partial and an object with `__call__` are like the function in them: name, docstring, kind of function."""
    toolbox = Toolbox()
    assert toolbox.tool(function) is function
    (tool,) = toolbox.tools
    assert tool.function.name == name
    assert tool.function.description == "Search everywhere."
    assert json.loads(await output_of(toolbox, call(name, query="it"))) == output


@pytest.mark.anyio
async def test_what_a_partial_has_set_is_not_the_model_s_to_choose() -> None:
    """A keyword of a partial, such as the user, is neither in the schema nor accepted as an argument."""
    toolbox = Toolbox()
    toolbox.tool(functools.partial(search, user="ada"))
    assert list(toolbox.tools[0].function.parameters["properties"]) == ["query", "limit"]
    assert "user is unknown" in await error_of(toolbox, call("search", query="it", user="eve"))


class City(pydantic.BaseModel):
    """A city."""

    name: str
    founded: date | None = None
    twins: "list[City]" = []


class Trip(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)

    route: tuple[City, ...]
    days: Annotated[int, pydantic.Field(ge=1)]


@dataclasses.dataclass
class Plan:
    trips: list[Trip]


@pytest.mark.anyio
async def test_pydantic_models_are_arguments_and_results() -> None:
    """Models of pydantic, which need not be installed: alone, in lists and in other classes."""
    toolbox = Toolbox()
    seen: list[Any] = []

    @toolbox.tool
    async def plan(first: Trip, others: list[Trip], whole: Plan, home: City | None = None, to: City = None) -> Any:
        seen.extend([first, others, whole, home, to])
        return {"trips": [first], "plan": Plan(others)}

    oslo = {"name": "Oslo", "founded": "1040-01-01"}
    trip = {"route": [oslo, {"name": "Rome", "twins": [oslo]}], "days": 2}
    output = await output_of(toolbox, call("plan", first=trip, others=[trip], whole={"trips": [trip]}, home=oslo))
    city = City(name="Oslo", founded=date(1040, 1, 1))
    expected = Trip(route=(city, City(name="Rome", twins=[city])), days=2)
    assert seen == [expected, [expected], Plan([expected]), city, None]
    dumped = expected.model_dump(mode="json")
    assert json.loads(output) == {"trips": [dumped], "plan": {"trips": [dumped]}}
    error = await error_of(toolbox, call("plan", first={**trip, "days": 0}, others=[], whole={"trips": []}))
    assert error == "invalid arguments: first.days: Input should be greater than or equal to 1"


@pytest.mark.anyio
async def test_none_as_a_default_makes_a_parameter_optional() -> None:
    """`limit: int = None` is what many write; the model may send null, or leave the parameter out."""
    toolbox = Toolbox()

    @toolbox.tool
    async def count(limit: int = None, words: Annotated[list[str], msgspec.Meta(max_length=2)] = None) -> Any:  # noqa: RUF013  # users write this, too
        return [limit, words]

    assert await output_of(toolbox, call("count", id="1")) == "[null,null]"
    assert await output_of(toolbox, call("count", id="2", limit=None, words=None)) == "[null,null]"
    assert await output_of(toolbox, call("count", id="3", limit=1, words=["a"])) == '[1,["a"]]'
    assert toolbox.tools[0].function.parameters["properties"]["limit"] == {
        "anyOf": [{"type": "integer"}, {"type": "null"}],
        "default": None,
    }


# Rounds.


@pytest.mark.anyio
async def test_nothing_to_answer() -> None:
    assert await Toolbox().answer([]) == ()


@pytest.mark.anyio
async def test_outputs_keep_the_order_of_calls() -> None:
    """Calls run concurrently, and outputs keep their order: here each call waits for the next one."""
    toolbox = Toolbox()
    ended = [anyio.Event() for _ in range(6)]
    ended[5].set()

    @toolbox.tool
    async def count(n: int) -> int:
        await ended[n + 1].wait()
        ended[n].set()
        return n

    calls = (call("count", id=f"call_{n}", n=n) for n in range(5))
    assert await toolbox.answer(calls) == tuple(ToolOutput(tool_call_id=f"call_{n}", output=str(n)) for n in range(5))


@pytest.mark.anyio
@pytest.mark.parametrize("threads", [False, True])
async def test_at_most_max_concurrency_calls_at_once(threads: bool) -> None:
    """max_concurrency is the limit over all rounds, and is reached."""
    toolbox = Toolbox(max_concurrency=3)
    active: list[int] = []
    most = 0
    lock = threading.Lock()
    full = threading.Barrier(3) if threads else None
    gathered = anyio.Event()

    def enter(n: int) -> None:
        nonlocal most
        with lock:
            active.append(n)
            most = max(most, len(active))

    def leave(n: int) -> None:
        with lock:
            active.remove(n)

    if full is not None:

        @toolbox.tool(name="work")
        def in_thread(n: int) -> None:
            enter(n)
            full.wait(30)
            leave(n)

    else:

        @toolbox.tool(name="work")
        async def in_loop(n: int) -> None:
            enter(n)
            if len(active) == 3:
                gathered.set()
            await gathered.wait()
            for _ in range(n % 4):
                await anyio.lowlevel.checkpoint()
            leave(n)

    async with anyio.create_task_group() as group:
        for start in range(0, 12, 4):
            calls = [call("work", id=f"call_{n}", n=n) for n in range(start, start + 4)]
            group.start_soon(toolbox.answer, calls)
    assert (most, active) == (3, [])


@pytest.mark.anyio
async def test_tool_may_wait_for_a_run_that_the_same_toolbox_answers() -> None:
    """A nested call needs no second slot, or it would wait for ever."""
    toolbox = Toolbox(max_concurrency=1, timeout=None)

    @toolbox.tool
    async def delegate(depth: int) -> str:
        if not depth:
            return "done"
        return await output_of(toolbox, call("delegate", id=f"call_{depth}", depth=depth - 1))

    assert await output_of(toolbox, call("delegate", depth=3)) == "done"


# Failures.


def boom(x: int) -> None:
    raise LookupError(f"no {x} in stock")


@pytest.mark.anyio
async def test_failing_tool_is_reported_to_the_model(caplog: pytest.LogCaptureFixture) -> None:
    """The model gets the error's text, the log its traceback. The other calls get their outputs."""
    toolbox = Toolbox()
    toolbox.tool(boom)
    toolbox.tool(ok)
    failed, fine = await toolbox.answer([call("boom", id="call_1", x=4321), call("ok", id="call_2", x=5)])
    assert failed == ToolOutput(tool_call_id="call_1", output='{"error":"LookupError: no 4321 in stock"}')
    assert fine == ToolOutput(tool_call_id="call_2", output="5")
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("openai_runs.toolbox", logging.WARNING)
    assert record.getMessage() == "tool 'boom' failed for call call_1: LookupError: no 4321 in stock"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)


@pytest.mark.anyio
async def test_long_error_is_cut() -> None:
    toolbox = Toolbox()

    @toolbox.tool
    async def fail() -> None:
        raise RuntimeError("x" * 1_000_000)

    assert len(await error_of(toolbox, call("fail"))) < 1100


@pytest.mark.anyio
async def test_text_that_utf_8_cannot_say_is_reported_as_well() -> None:
    """An error text with a lone surrogate, such as an undecodable file name, is reported."""
    toolbox = Toolbox()

    @toolbox.tool
    async def fail() -> None:
        raise FileNotFoundError("\udcff")

    assert await error_of(toolbox, call("fail")) == "FileNotFoundError: \udcff"


@pytest.mark.anyio
async def test_unknown_tool_is_reported_with_those_there_are() -> None:
    toolbox = Toolbox()
    assert await error_of(toolbox, call("bang")) == "there is no tool 'bang'; the tools are: none"
    toolbox.tool(ok)
    toolbox.tool(boom)
    assert await error_of(toolbox, call("bang")) == "there is no tool 'bang'; the tools are: ok, boom"


@pytest.mark.anyio
async def test_output_that_is_not_json_is_a_failure() -> None:
    toolbox = Toolbox()
    toolbox.tool(lambda: [object()], name="make")
    assert await error_of(toolbox, call("make")) == "TypeError: Encoding objects of type object is unsupported"


@pytest.mark.anyio
async def test_slow_tool_is_cut_off() -> None:
    """At its timeout the tool is cancelled; the tool's own timeout overrides the toolbox's."""
    toolbox = Toolbox(timeout=1e-6)
    noticed = anyio.Event()

    @toolbox.tool
    async def hang() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            noticed.set()

    @toolbox.tool(timeout=math.inf)
    async def take_time() -> str:
        await noticed.wait()
        return "done"

    hung, done = await toolbox.answer([call("hang", id="call_1"), call("take_time", id="call_2")])
    assert hung.output == '{"error":"no result within 1e-06 seconds"}'
    assert done.output == "done"


@pytest.mark.anyio
async def test_thread_that_takes_too_long_is_left_alone() -> None:
    """A thread cannot be stopped, but nothing waits for it; its late result changes nothing."""
    toolbox = Toolbox(timeout=0.01)
    release, over = threading.Event(), threading.Event()

    @toolbox.tool
    def hang() -> str:
        release.wait(30)
        over.set()
        return "late"

    assert await error_of(toolbox, call("hang")) == "no result within 0.01 seconds"
    release.set()
    await anyio.to_thread.run_sync(over.wait, 30)
    assert await error_of(toolbox, call("hang")) == "no result within 0.01 seconds"


@pytest.mark.anyio
async def test_timeout_of_the_tool_s_own_is_an_ordinary_failure() -> None:
    toolbox = Toolbox()

    @toolbox.tool
    async def ask() -> None:
        with anyio.fail_after(0):
            await anyio.sleep_forever()

    assert await error_of(toolbox, call("ask")) == "TimeoutError: "


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("bad", "cause", "text"),
    [
        (
            call("boom", id="call_2", x=7),
            LookupError,
            "tool 'boom' failed for call call_2: LookupError: no 7 in stock",
        ),
        (call("boom", id="call_2", x="7"), msgspec.ValidationError, "x must be an integer: got a string"),
        (call("bang", id="call_2"), LookupError, "there is no tool 'bang'; the tools are: boom, wait"),
        (call("wait", id="call_2", seconds=1), msgspec.ValidationError, "seconds is unknown"),
    ],
)
async def test_failure_can_end_the_round(
    bad: FunctionToolCall, cause: type[Exception], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One `ToolError`, not a group; the other calls are cancelled; nothing is logged: the caller gets the error."""
    toolbox = Toolbox(on_error="raise", timeout=None)
    toolbox.tool(boom)
    cancelled = 0

    @toolbox.tool
    async def wait() -> None:
        nonlocal cancelled
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            cancelled += 1
            raise

    if bad.function.name == "boom" and cause is LookupError:  # the others fail before anything begins
        calls = [call("wait", id="call_1"), bad, call("wait", id="call_3")]
    else:
        calls = [bad]
    with pytest.raises(ToolError, match=re.escape(text)) as caught:
        await toolbox.answer(calls)
    assert caught.value.tool_call is bad
    assert isinstance(caught.value.__cause__, cause)
    assert cancelled == len(calls) - 1
    assert caplog.records == []


@pytest.mark.anyio
async def test_timeout_can_end_the_round() -> None:
    toolbox = Toolbox(on_error="raise", timeout=1e-6)
    toolbox.tool(anyio.sleep_forever, name="hang")
    with pytest.raises(ToolError, match="no result within 1e-06 seconds") as caught:
        await toolbox.answer([call("hang")])
    assert isinstance(caught.value.__cause__, TimeoutError)


@pytest.mark.anyio
async def test_several_failures_are_one_error() -> None:
    toolbox = Toolbox(on_error="raise")
    together = anyio.Event()
    waiting = 0

    @toolbox.tool
    async def fail() -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 2:
            together.set()
        await together.wait()
        raise OSError("gone")

    with pytest.raises(ToolError, match="OSError: gone"):
        await toolbox.answer([call("fail", id="call_1"), call("fail", id="call_2")])


# What a tool raises, of whatever kind, is its own.


async def fail_in_a_group() -> None:
    """Catch a TaskGroup that fails while it is waited for: Python 3.11 and 3.12 do not take its cancellation back."""

    async def fail() -> None:
        await anyio.lowlevel.checkpoint()
        raise LookupError("inside")

    with contextlib.suppress(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())


@pytest.mark.anyio
@pytest.mark.parametrize("on_error", ["report", "raise"])
async def test_leftover_cancellation_of_a_tool_is_its_own(on_error: Literal["report", "raise"]) -> None:
    """A cancellation that a tool has left in its task, followed by its timeout, is a failed call like any timeout."""
    toolbox = Toolbox(timeout=0.01, on_error=on_error)

    @toolbox.tool
    async def gather() -> None:
        await fail_in_a_group()
        await anyio.sleep_forever()

    if on_error == "report":
        assert await error_of(toolbox, call("gather")) == "no result within 0.01 seconds"
    else:
        with pytest.raises(ToolError, match=r"no result within 0\.01 seconds"):
            await output_of(toolbox, call("gather"))


@pytest.mark.anyio
async def test_tool_that_cancels_its_own_task_has_failed() -> None:
    toolbox = Toolbox()
    toolbox.tool(ok)

    @toolbox.tool
    async def give_up() -> None:
        asyncio.current_task().cancel()
        await anyio.lowlevel.checkpoint()

    given_up, fine = await toolbox.answer([call("give_up", id="call_1"), call("ok", id="call_2", x=5)])
    assert json.loads(given_up.output) == {"error": "a task that the tool waited for was cancelled"}
    assert fine.output == "5"


@pytest.mark.anyio
async def test_cancellation_gets_out_of_a_tool_with_a_leftover() -> None:
    """The caller's own cancellation is told apart from the tool's, whatever the tool has left in its task."""
    toolbox = Toolbox(timeout=None)
    waits = anyio.Event()

    @toolbox.tool
    async def gather() -> None:
        await fail_in_a_group()
        waits.set()
        await anyio.sleep_forever()

    task = asyncio.create_task(toolbox.answer([call("gather")]))
    await waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


class Odd(BaseException):
    """Neither an `Exception` nor an end of the process."""


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.anyio
@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("on_error", ["report", "raise"])
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Odd("odd"), "Odd: odd"),
        (GeneratorExit(), "GeneratorExit"),
        (asyncio.CancelledError(), "a task that the tool waited for was cancelled"),
        (UnreadableError(), "UnreadableError: (its text cannot be read: ZeroDivisionError)"),
        (BaseExceptionGroup("odd", [Odd()]), "BaseExceptionGroup: odd (1 sub-exception): Odd: "),
    ],
)
async def test_odd_failure_is_one_too(
    error: BaseException, text: str, on_error: Literal["report", "raise"], threads: bool
) -> None:
    """What a tool raises, of whatever class, fails this call and no other."""
    toolbox = Toolbox(on_error=on_error)
    toolbox.tool(ok)

    async def fail() -> None:
        raise error

    def fail_in_thread() -> None:
        raise error

    toolbox.tool(fail_in_thread if threads else fail, name="fail")
    calls = [call("fail", id="call_1"), call("ok", id="call_2", x=5)]
    if on_error == "report":
        failed, fine = await toolbox.answer(calls)
        assert text in json.loads(failed.output)["error"]
        assert fine.output == "5"
    else:
        with pytest.raises(ToolError, match=re.escape(text)) as caught:
            await toolbox.answer(calls)
        cause = caught.value.__cause__
        assert error in (cause, cause.__cause__)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("error", "text"),
    [(Odd("odd"), "Odd: odd"), (UnreadableError(), "invalid arguments: (its text cannot be read: ZeroDivisionError)")],
)
async def test_odd_failure_of_a_validator_is_one_too(error: BaseException, text: str) -> None:
    """A class of the caller's that validates arguments may raise anything, too."""
    toolbox = Toolbox()

    @dataclasses.dataclass
    class Picky:
        x: int

        def __post_init__(self) -> None:
            raise error

    def use(picky: Picky) -> None:
        pytest.fail(f"called with {picky}")

    use.__annotations__["picky"] = Picky
    toolbox.tool(use)
    assert await error_of(toolbox, call("use", picky={"x": 1})) == text


@pytest.mark.anyio
async def test_group_of_errors_names_its_causes() -> None:
    """The model reads what went wrong, not only that "errors in a TaskGroup" have."""
    toolbox = Toolbox()

    @toolbox.tool
    async def gather() -> None:
        raise ExceptionGroup(
            "all of it", [OSError("gone"), ExceptionGroup("more", [LookupError("none"), UnreadableError()])]
        )

    assert await error_of(toolbox, call("gather")) == (
        "ExceptionGroup: all of it (2 sub-exceptions): OSError: gone; LookupError: none; "
        "UnreadableError: (its text cannot be read: ZeroDivisionError)"
    )


@pytest.mark.anyio
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_end_of_the_process_is_no_failure(error: type[BaseException]) -> None:
    """A tool may end the program: that is not reported to the model."""
    program = f"""
import asyncio
from openai_runs import Toolbox
from openai_runs.models.tool import FunctionCall, FunctionToolCall

toolbox = Toolbox()

@toolbox.tool
async def leave() -> None:
    raise {error.__name__}

call = FunctionToolCall(id="call_1", function=FunctionCall(name="leave", arguments=""))
try:
    asyncio.run(toolbox.answer([call]))
except {error.__name__}:
    print("left")
"""
    done = await anyio.run_process([sys.executable, "-c", program], check=False)
    assert done.stdout == b"left\n"


# Cancellation.


@pytest.mark.anyio
@pytest.mark.parametrize("on_error", ["report", "raise"])
@pytest.mark.parametrize("native", [False, True])
async def test_cancellation_gets_out(
    on_error: Literal["report", "raise"], native: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A cancelled call is not a failure, and no outcome is remembered."""
    toolbox = Toolbox(on_error=on_error)
    started = anyio.Event()
    times = 0

    @toolbox.tool
    async def work() -> int:
        nonlocal times
        times += 1
        started.set()
        if times == 1:
            await anyio.sleep_forever()
        return times

    if native:
        task = asyncio.create_task(toolbox.answer([call("work")]))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        async with anyio.create_task_group() as group:
            group.start_soon(toolbox.answer, [call("work")])
            await started.wait()
            group.cancel_scope.cancel()
    assert caplog.records == []
    assert await output_of(toolbox, call("work")) == "2"


@pytest.mark.anyio
async def test_somebody_else_s_cancellation_is_a_failure() -> None:
    """If a task that a tool waits for is cancelled, the tool fails, and the caller is not cancelled."""
    toolbox = Toolbox()
    background = asyncio.create_task(anyio.sleep_forever())

    @toolbox.tool
    async def wait() -> None:
        background.cancel()
        await background

    assert await error_of(toolbox, call("wait")) == "a task that the tool waited for was cancelled"


# Once.


@pytest.fixture
def counted() -> tuple[Toolbox, list[str]]:
    toolbox, called = Toolbox(), []

    @toolbox.tool
    async def count(word: str = "") -> int:
        called.append(word)
        return len(called)

    return toolbox, called


@pytest.mark.anyio
async def test_call_is_made_once(counted: tuple[Toolbox, list[str]]) -> None:
    """A repeated call returns the same output, which may have to be sent again."""
    toolbox, called = counted
    first = await toolbox.answer([call("count")], run_id="run_1")
    assert await toolbox.answer([call("count")], run_id="run_1") == first
    assert called == [""]


@pytest.mark.anyio
async def test_calls_are_told_apart(counted: tuple[Toolbox, list[str]]) -> None:
    """Calls with the same ID are kept apart: some servers reuse IDs in each run, or even in each round."""
    toolbox, called = counted
    await toolbox.answer([call("count", word="a")], run_id="run_1")
    await toolbox.answer([call("count", word="a")], run_id="run_2")
    await toolbox.answer([call("count", word="b")], run_id="run_2")
    await toolbox.answer([call("count", word="b", id="call_2")], run_id="run_2")
    assert called == ["a", "a", "b", "b"]


@pytest.mark.anyio
async def test_call_twice_in_a_round_is_made_once(counted: tuple[Toolbox, list[str]]) -> None:
    toolbox, called = counted
    first, second = await toolbox.answer([call("count"), call("count")])
    assert first == second
    assert called == [""]


@pytest.mark.anyio
@pytest.mark.parametrize("on_error", ["report", "raise"])
async def test_failed_call_is_made_once_too(on_error: Literal["report", "raise"]) -> None:
    """A failed call does not run again, since its effects must not happen twice, unless `forget` is called."""
    toolbox = Toolbox(on_error=on_error)
    times = 0

    @toolbox.tool
    async def charge() -> str:
        nonlocal times
        times += 1
        if times == 1:
            raise OSError("lost")
        return "paid"

    async def answer() -> str:
        try:
            return await output_of(toolbox, call("charge"))
        except ToolError as error:
            return str(error.__cause__)

    first = await answer()
    assert "lost" in first
    assert await answer() == first
    toolbox.forget([call("charge"), call("unheard_of")])
    assert await answer() == "paid"


@pytest.mark.anyio
@pytest.mark.parametrize("cancel_first", [False, True])
async def test_second_follower_waits_for_the_first(cancel_first: bool) -> None:
    """A second task waits for the call's output; if the first task is cancelled, it runs the call itself."""
    toolbox = Toolbox()
    started, go = anyio.Event(), anyio.Event()
    first, second = anyio.CancelScope(), anyio.CancelScope()
    answers: list[str] = []
    times = 0

    @toolbox.tool
    async def work() -> int:
        nonlocal times
        times += 1
        started.set()
        await go.wait()
        return times

    async def follow(scope: anyio.CancelScope) -> None:
        with scope:
            answers.append(await output_of(toolbox, call("work")))

    async with anyio.create_task_group() as group:
        group.start_soon(follow, first)
        await started.wait()
        group.start_soon(follow, second)
        await anyio.wait_all_tasks_blocked()
        if cancel_first:
            first.cancel()
            await anyio.wait_all_tasks_blocked()
        go.set()
    assert answers == (["2"] if cancel_first else ["1", "1"])


@pytest.mark.anyio
async def test_what_was_done_before_a_failure_is_not_done_again() -> None:
    """After a round that ended with an error, finished calls keep their outputs and cancelled ones run again."""
    toolbox = Toolbox(on_error="raise")
    done = anyio.Event()
    called: list[str] = []

    @toolbox.tool
    async def quick() -> str:
        called.append("quick")
        done.set()
        return "quick"

    @toolbox.tool
    async def slow() -> str:
        called.append("slow")
        if called.count("slow") == 1:
            await anyio.sleep_forever()
        return "slow"

    @toolbox.tool
    async def fail() -> str:
        called.append("fail")
        if called.count("fail") == 1:
            await done.wait()
            raise OSError("gone")
        return "fine"

    calls = [call("quick", id="call_1"), call("slow", id="call_2"), call("fail", id="call_3")]
    with pytest.raises(ToolError):
        await toolbox.answer(calls)
    toolbox.forget([calls[2]])
    assert [answer.output for answer in await toolbox.answer(calls)] == ["quick", "slow", "fine"]
    assert (called.count("quick"), called.count("slow"), called.count("fail")) == (1, 2, 2)


@pytest.mark.anyio
@pytest.mark.parametrize("finish_before", [False, True])
async def test_thread_goes_on_and_is_not_doubled(finish_before: bool) -> None:
    """A waiting task is cancelled at once; the next one gets the thread's result."""
    toolbox = Toolbox()
    loop, started, release, over = asyncio.get_running_loop(), anyio.Event(), threading.Event(), threading.Event()
    times = 0

    @toolbox.tool
    def work() -> int:
        nonlocal times
        times += 1
        loop.call_soon_threadsafe(started.set)
        release.wait(30)
        over.set()
        return times

    async with anyio.create_task_group() as group:
        group.start_soon(toolbox.answer, [call("work")])
        await started.wait()
        group.cancel_scope.cancel()
    assert not over.is_set()  # cancellation did not wait
    if finish_before:
        release.set()
        await anyio.to_thread.run_sync(over.wait, 30)
    async with anyio.create_task_group() as group:
        group.start_soon(toolbox.answer, [call("work")])
        await anyio.wait_all_tasks_blocked()
        release.set()
    assert await output_of(toolbox, call("work")) == "1"


@pytest.mark.anyio
@pytest.mark.parametrize("interrupted", ["in the thread", "in the coroutine"])
async def test_decorated_coroutine_function_runs_again_after_cancellation(interrupted: str) -> None:
    """A coroutine that an ordinary function returned is like any other: cancelled, it ends, and then runs anew.

    A thread that has not returned its coroutine yet is waited for: the call is never made twice at the same time.
    """
    toolbox = Toolbox()
    loop, started, release = asyncio.get_running_loop(), anyio.Event(), threading.Event()
    wrapped, entered, ended, active, most = 0, 0, 0, 0, 0

    async def work() -> int:
        nonlocal entered, ended, active, most
        entered += 1
        active += 1
        most = max(most, active)
        try:
            if entered == 1 and interrupted == "in the coroutine":
                started.set()
                await anyio.sleep_forever()
            return entered
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            active -= 1
            ended += 1

    def decorated() -> Any:
        nonlocal wrapped
        wrapped += 1
        if interrupted == "in the thread":
            loop.call_soon_threadsafe(started.set)
            release.wait(30)
        return work()

    toolbox.tool(decorated, name="work")
    async with anyio.create_task_group() as group:
        group.start_soon(toolbox.answer, [call("work")])
        await started.wait()
        group.cancel_scope.cancel()
    release.set()
    answers = [await output_of(toolbox, call("work")) for _ in range(2)]
    if interrupted == "in the coroutine":
        assert (answers, wrapped, entered, ended, most) == (["2", "2"], 2, 2, 2, 1)
    else:
        assert (answers, wrapped, entered, ended, most) == (["1", "1"], 1, 1, 1, 1)


@pytest.mark.anyio
@pytest.mark.parametrize("lost", ["timeout", "forget", "forget while it runs", "forget when it has run", "eviction"])
async def test_coroutine_that_comes_too_late_never_starts(lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If nobody waits any more for the thread that makes a coroutine, it is closed: no work, and no warning."""
    monkeypatch.setattr(memory, "_REMEMBERED", 1)
    toolbox = Toolbox(timeout=0.01 if lost == "timeout" else None)
    toolbox.tool(ok)
    loop, started, release = asyncio.get_running_loop(), anyio.Event(), threading.Event()
    made: list[Any] = []

    async def work() -> None:
        pytest.fail("started")

    async def finish() -> None:
        release.set()
        for thread in threading.enumerate():
            if thread.name == "tool work":
                await anyio.to_thread.run_sync(thread.join, 30)

    @toolbox.tool(name="work")
    def decorated() -> Any:
        made.append(work())
        loop.call_soon_threadsafe(started.set)
        release.wait(30)
        return made[0]

    if lost == "timeout":
        assert "no result within" in await error_of(toolbox, call("work"))
    else:
        async with anyio.create_task_group() as group:
            group.start_soon(toolbox.answer, [call("work")])
            await started.wait()
            if lost == "forget while it runs":
                toolbox.forget([call("work")])
            group.cancel_scope.cancel()
    match lost:
        case "forget":
            toolbox.forget([call("work")])
        case "forget when it has run":
            await finish()
            toolbox.forget([call("work")])
        case "eviction":
            await toolbox.answer([call("ok", x=1)])
    await finish()
    assert inspect.getcoroutinestate(made[0]) == inspect.CORO_CLOSED


@pytest.mark.anyio
async def test_coroutine_that_is_waited_for_starts_although_its_call_was_forgotten() -> None:
    toolbox = Toolbox()
    loop, started, release = asyncio.get_running_loop(), anyio.Event(), threading.Event()

    async def work() -> str:
        return "done"

    @toolbox.tool(name="work")
    def decorated() -> Any:
        loop.call_soon_threadsafe(started.set)
        release.wait(30)
        return work()

    answer = asyncio.create_task(output_of(toolbox, call("work")))
    await started.wait()
    toolbox.forget([call("work")])
    release.set()
    assert await answer == "done"


def test_thread_that_never_ends_does_not_keep_the_program() -> None:
    """Nothing waits for a thread that has timed out, not even the interpreter's exit."""
    program = """
import asyncio, threading
from openai_runs import Toolbox
from openai_runs.models.tool import FunctionCall, FunctionToolCall

toolbox = Toolbox(timeout=0.01)

@toolbox.tool
def hang() -> None:
    threading.Event().wait()

call = FunctionToolCall(id="call_1", function=FunctionCall(name="hang", arguments=""))
print(asyncio.run(toolbox.answer([call])))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert "no result within 0.01 seconds" in run.stdout


@pytest.mark.anyio
async def test_stop_iteration_is_a_failure_like_any_other() -> None:
    """A tool's StopIteration is reported, though futures refuse it."""
    toolbox = Toolbox()

    @toolbox.tool
    def first() -> int:
        return next(iter([]))

    assert json.loads(await output_of(toolbox, call("first"))) == {
        "error": "RuntimeError: the tool raised StopIteration"
    }


@pytest.mark.anyio
async def test_memory_is_bounded(counted: tuple[Toolbox, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest outcomes are forgotten first."""
    monkeypatch.setattr(memory, "_REMEMBERED", 3)
    toolbox, called = counted
    for n in [0, 1, 2, 3, 1, 2, 3, 0]:
        await toolbox.answer([call("count", id=f"call_{n}", word=str(n))])
    assert called == ["0", "1", "2", "3", "0"]
    assert len(toolbox._memory) == 3
    assert toolbox._running == {}


def test_toolbox_outlives_an_event_loop(counted: tuple[Toolbox, list[str]]) -> None:
    """A toolbox may be a module's global, used by one `asyncio.run` after the other."""
    toolbox, called = counted
    for n in range(3):
        asyncio.run(toolbox.answer([call("count", id=f"call_{n}")]))
    assert called == ["", "", ""]
