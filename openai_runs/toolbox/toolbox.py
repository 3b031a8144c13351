"""`Toolbox`: the caller's functions as tools of a model.

It makes tool definitions of functions, validates the arguments that a model wrote, calls the functions of one round
concurrently, and turns their results and errors into tool outputs. It knows neither where calls come from nor where
outputs go: no runs, no HTTP.
"""

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

import anyio
import msgspec
from attrs import frozen

from openai_runs import _wire
from openai_runs._arguments import check_count, check_seconds
from openai_runs._habits import TOOLBOX, explained_init
from openai_runs._supervision import supervise
from openai_runs.errors import ToolError, snippet
from openai_runs.models.limits import NAME
from openai_runs.models.model import Model, Unknown
from openai_runs.models.tool import Function, FunctionTool, FunctionToolCall, ToolOutput, ToolSource
from openai_runs.toolbox.current_call import begin_call
from openai_runs.toolbox.json_models import decode_json_model, encode_json_model
from openai_runs.toolbox.memory import Failure, Key, Memory, Outcome, key_of
from openai_runs.toolbox.misfits import misfit
from openai_runs.toolbox.signature import is_function, plain_function, read_signature
from openai_runs.toolbox.tool_thread import ToolThread

if TYPE_CHECKING:  # loaded only by who uses it
    from openai_runs.telemetry import Telemetry
    from openai_runs.toolbox.tool_span import ToolSpan

_Function = TypeVar("_Function", bound=Callable[..., Any])

_log: Final = logging.getLogger("openai_runs.toolbox")

#: The toolboxes whose tools the current task is running.
_active_toolboxes: ContextVar[tuple["Toolbox", ...]] = ContextVar("_active_toolboxes", default=())


@frozen
class _Tool:
    """A function, with its definition, argument decoder and timeout."""

    function: Callable[..., Any]
    is_async: bool
    definition: FunctionTool
    decoder: msgspec.json.Decoder[msgspec.Struct]
    timeout: float | None

    def arguments(self, text: str) -> dict[str, Any]:
        """Decode the arguments that a model wrote; models often send an empty string if there are no parameters."""
        return msgspec.structs.asdict(self.decoder.decode(text or "{}"))


@explained_init(TOOLBOX)
class Toolbox(ToolSource):
    """Functions that a model may call; answers the model's tool calls.

    Use closures to give a tool a database session or the current user: a toolbox costs little, so you may create one
    per request. It may also be shared by any number of runs, in one event loop at a time.

    Args:
        max_concurrency: How many calls may be in progress at once, over all runs that this toolbox answers. Calls for
            runs that a tool itself starts and waits for do not count, or the tool would wait for its own slot.
        timeout: Seconds for each call, from its start; ``None`` for no limit.
        on_error: ``"report"`` turns every failure into an output that the model can read, ``{"error": "..."}``, and
            logs it as a warning; the output has the text of the tool's exception, not its traceback. ``"raise"`` ends
            the round with a `ToolError`.
    """

    def __init__(
        self,
        *,
        max_concurrency: int = 64,
        timeout: float | None = 60,
        on_error: Literal["report", "raise"] = "report",
    ) -> None:
        check_count("max_concurrency", max_concurrency, least=1)
        if on_error not in ("report", "raise"):
            raise ValueError(f"on_error must be 'report' or 'raise': got {on_error!r}")
        check_seconds("timeout", timeout, none=True)
        self._max_concurrency = max_concurrency
        self._timeout = timeout
        self._on_error = on_error
        self._tools: dict[str, _Tool] = {}
        self._limiter = anyio.CapacityLimiter(max_concurrency)
        self._running: dict[Key, anyio.Event] = {}
        self._memory = Memory()

    def __repr__(self) -> str:
        """The settings, and the names of the tools."""
        return (
            f"Toolbox({', '.join(self._tools) or 'no tools'}; max_concurrency={self._max_concurrency}, "
            f"timeout={self._timeout}, on_error={self._on_error!r})"
        )

    @property
    def tools(self) -> tuple[FunctionTool, ...]:
        """The definitions, as ``assistants.create(tools=...)`` and ``runs.create(tools=...)`` take them."""
        return tuple(tool.definition for tool in self._tools.values())

    @overload
    def tool(
        self,
        function: _Function,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
        strict: bool | None = None,
    ) -> _Function: ...
    @overload
    def tool(
        self,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
        strict: bool | None = None,
    ) -> Callable[[_Function], _Function]: ...
    def tool(
        self,
        function: _Function | None = None,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
        strict: bool | None = None,
    ) -> _Function | Callable[[_Function], _Function]:
        """Add a function as a tool. A decorator, with or without arguments; it returns the function unchanged.

        The tool's definition is made of type hints and docstring: annotate each parameter with a type that `msgspec`
        can read from JSON or a pydantic model, and describe it in the docstring, in any common style. ``Annotated[int,
        msgspec.Meta(ge=1)]`` adds limits. A synchronous function runs in a thread. A returned string is sent as it is,
        anything else as JSON, so ``None`` is ``null``.

        Args:
            function: A function or bound method, synchronous or not; a `functools.partial`, whose keywords the model
                does not see; or an object with ``__call__``.
            name: The tool's name, instead of the function's, or of the object's class: 1 to 64 of ``a-z A-Z 0-9 _ -``.
            description: The tool's description, instead of the docstring's.
            timeout: Seconds, instead of the toolbox's; `math.inf` for no limit.
            strict: Ask the endpoint to follow the schema exactly. The model then has to fill in every parameter,
                optional ones too, and mappings with arbitrary keys are not allowed.

        Raises:
            TypeError: No schema can be made of the function; the message names the parameter and says what to do.
            ValueError: The name is taken or not allowed, or the timeout is not positive.
        """
        if function is None:
            return partial(self.tool, name=name, description=description, timeout=timeout, strict=strict)
        if not is_function(function):
            raise TypeError(f"a tool is a function that returns its result, not {function!r}: wrap that in one")
        check_seconds("timeout", timeout, none=True)
        signature = read_signature(function, strict=bool(strict))
        name = name or signature.name
        if broken := NAME.broken(name):
            raise ValueError(f"tool name {name!r} {broken}: pass another as name=...")
        if name in self._tools:
            # Not replaced, even by a function of the same place: a shared toolbox would have another request's closure.
            raise ValueError(
                f"there is a tool {name!r} already: pass another name as name=...; in a notebook, where a cell runs "
                "again, make the Toolbox in the same cell"
            )
        self._tools[name] = _Tool(
            function=function,
            is_async=inspect.iscoroutinefunction(plain_function(function)),
            definition=FunctionTool(
                function=Function(
                    name=name,
                    description=description or signature.description,
                    parameters=signature.schema,
                    strict=strict,
                )
            ),
            decoder=msgspec.json.Decoder(signature.arguments, dec_hook=decode_json_model),
            timeout=self._timeout if timeout is None else timeout,
        )
        return function

    async def answer(
        self,
        calls: Iterable[FunctionToolCall],
        *,
        run_id: str | None = None,
        telemetry: "Telemetry | None" = None,
    ) -> tuple[ToolOutput, ...]:
        """Run the tools that a model called, concurrently, and return their outputs.

        Each call runs once. Given the same call again, because its output was lost or because another task follows the
        same run, the toolbox returns the same output, or waits for the call in progress. A cancelled call has no output
        and runs again; if it continued in a thread, that thread's result is the output. The latest 4096 calls are
        remembered. Once a session has submitted the outputs, the same ID, function and arguments in a newer snapshot of
        the run are a new call: some endpoints count IDs from ``call_0`` in each round.

        Args:
            calls: The pending calls of a run.
            run_id: The run's ID, for calls that you have built yourself. Those of `Run.pending_tool_calls` know it.
            telemetry: Records each call; a session that follows a run passes its own.

        Returns:
            The outputs, in the order of the calls.

        Raises:
            ToolError: A call failed, and ``on_error`` is ``"raise"``. The other calls of the round are cancelled.
        """
        calls = tuple(calls)
        outputs: dict[int, str] = {}
        failures: list[tuple[FunctionToolCall, Failure]] = []

        async def answer_one(index: int, call: FunctionToolCall) -> None:
            if telemetry is None:
                outcome = await self._outcome(call, run_id)
            else:
                from openai_runs.toolbox.tool_span import ToolSpan  # only here: it loads OpenTelemetry

                with ToolSpan(telemetry, call) as span:
                    outcome = span.result = await self._outcome(call, run_id, span)
            if isinstance(outcome, str):
                outputs[index] = outcome
            else:
                failures.append((call, outcome))
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for index, call in enumerate(calls):
                group.start_soon(answer_one, index, call, name=f"tool call {call.id}")
        if failures:
            call, failure = failures[0]
            raise ToolError(
                f"tool {call.function.name!r} failed for call {call.id}: {failure.text}", tool_call=call
            ) from failure.cause
        return tuple(
            self._memory.output(key_of(call, run_id), call, outputs[index]) for index, call in enumerate(calls)
        )

    def forget(self, calls: Iterable[FunctionToolCall], *, run_id: str | None = None) -> None:
        """Forget the outcomes of calls, so that they run again, such as when the cause of a `ToolError` is fixed."""
        for call in calls:
            self._memory.forget(key_of(call, run_id))

    async def _outcome(self, call: FunctionToolCall, run_id: str | None, span: "ToolSpan | None" = None) -> Outcome:
        name = call.function.name
        tool = self._tools.get(name)
        if tool is None:
            text = f"there is no tool {name!r}; the tools are: {', '.join(self._tools) or 'none'}"
            return self._failed(call, text, LookupError(text), span)
        return await self._run_once(key_of(call, run_id), call, tool, span)

    async def _run_once(self, key: Key, call: FunctionToolCall, tool: _Tool, span: "ToolSpan | None") -> Outcome:
        """Run a call, or return its remembered outcome; if another task is running it, wait for that."""
        while (running := self._running.get(key)) is not None:
            await running.wait()  # if that task was cancelled, no outcome is remembered, and this one runs the call
        known = self._memory.recall(key, call)
        if isinstance(known, str | Failure):
            return known
        done = self._running[key] = anyio.Event()
        try:
            return await self._run(key, call, tool, span)
        finally:
            del self._running[key]
            done.set()

    async def _run(self, key: Key, call: FunctionToolCall, tool: _Tool, span: "ToolSpan | None") -> Outcome:
        outcome: Outcome | None = None

        def ended(result: Outcome) -> None:  # remembered at once: the tool has worked, even if its caller is cancelled
            nonlocal outcome
            outcome = result
            self._memory.remember(key, result)

        async def work() -> None:
            try:
                arguments = tool.arguments(call.function.arguments)
            except Exception as error:  # from msgspec, or from a caller's class that validates its arguments
                text = snippet(misfit(error, _text_of(error), whole="they", schema=tool.definition.function.parameters))
                ended(self._failed(call, f"invalid arguments: {text}", error, span, quotes_arguments=True))
            else:
                ended(_output_text(await self._call(key, call, tool, arguments)))

        def failed(error: BaseException) -> None:
            ended(self._failed(call, snippet(_describe(error), 1000), error, span))

        active = _active_toolboxes.get()
        async with nullcontext() if self in active else self._limiter:  # a nested call already holds a slot
            _active_toolboxes.set((*active, self))  # in this call's own task only
            begin_call(key)
            # The tool has a task of its own, and the timeout is not in it. A tool can leave a cancellation in its task
            # that Python 3.11 and 3.12 do not count. If the timeout cancelled the same task, that would then look like
            # a cancellation by the caller.
            with anyio.move_on_after(tool.timeout):
                async with anyio.create_task_group() as group:
                    group.start_soon(supervise, failed, work)
        if outcome is None:
            text = f"no result within {tool.timeout:g} seconds"
            ended(self._failed(call, text, TimeoutError(text), span))
        assert outcome is not None  # noqa: S101  # for the type checker: `ended` has set it
        return outcome

    async def _call(self, key: Key, call: FunctionToolCall, tool: _Tool, arguments: Mapping[str, Any]) -> Any:
        if tool.is_async:
            return await tool.function(**arguments)
        # Remembered while it runs, since a second thread for the same call would do its work twice.
        thread = self._memory.recall(key, call)
        if not isinstance(thread, ToolThread):
            thread = ToolThread(tool.definition.function.name, partial(tool.function, **arguments))
            self._memory.remember(key, thread)
        result = await thread.result()
        if not inspect.isawaitable(result):
            return result
        # Of a decorated coroutine function, say. It can be awaited only once: if it is cancelled now, it has ended, and
        # the call is made anew when it is asked for again, as with any coroutine function.
        self._memory.forget(key)
        return await result

    def _failed(
        self,
        call: FunctionToolCall,
        text: str,
        cause: BaseException,
        span: "ToolSpan | None",
        *,
        quotes_arguments: bool = False,
    ) -> Outcome:
        """The outcome of a failed call, as ``on_error`` says."""
        if span is not None:
            span.failure = cause
        if self._on_error == "raise":
            return Failure(text, cause)
        # Arguments may hold personal data, which must not be logged at this level.
        _log.warning(
            "tool %r failed for call %s: %s",
            call.function.name,
            call.id,
            "invalid arguments" if quotes_arguments else text,
            exc_info=None if quotes_arguments else cause,
        )
        return _wire.encode({"error": text}).decode()


def _output_text(value: Any) -> str:
    """What a tool returned, as the text that the API requires."""
    if isinstance(value, str):
        return str.__str__(value)  # plain `str`, also for a member of a StrEnum
    return msgspec.json.encode(_dump_models(value), enc_hook=encode_json_model).decode()


def _dump_models(value: Any) -> Any:
    """Replace this library's models by the API's JSON; msgspec would encode them as ordinary attrs classes."""
    match value:
        case Model() | Unknown():
            return _wire.dump(value)
        case dict():
            return {key: _dump_models(item) for key, item in value.items()}
        case list() | tuple():
            return [_dump_models(item) for item in value]
        case _:
            return value


def _describe(error: BaseException) -> str:
    """What a tool raised, for the model: the class and text; of a group of exceptions also the causes in it."""
    if isinstance(error, asyncio.CancelledError):
        return "a task that the tool waited for was cancelled"
    text = _text_of(error)
    if not isinstance(error, BaseExceptionGroup):
        return f"{type(error).__name__}: {text}"
    return f"{type(error).__name__}: {text}: {'; '.join(map(_describe, _causes(error)))}"


def _causes(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        yield from _causes(error) if isinstance(error, BaseExceptionGroup) else (error,)


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as problem:  # `__str__` is the caller's code as well
        return f"(its text cannot be read: {type(problem).__name__})"
