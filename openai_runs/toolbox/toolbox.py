"""Tools: the caller's functions, made callable by a model.

A `Toolbox` makes tool definitions of functions, checks the arguments that a model wrote, calls the functions of one
round together, and turns whatever becomes of that into tool outputs. It must not know where calls come from or where
outputs go: no runs, no HTTP.
"""

import asyncio
import inspect
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import nullcontext
from contextvars import ContextVar, copy_context
from functools import partial
from threading import Thread
from typing import Any, Final, Literal, TypeAlias, TypeVar, overload

import anyio
import msgspec
from attrs import frozen

from openai_runs import _wire
from openai_runs._arguments import check_count, check_seconds
from openai_runs.errors import ToolError, snippet
from openai_runs.models.limits import NAME
from openai_runs.models.model import Model, Unknown
from openai_runs.models.tool import Function, FunctionTool, FunctionToolCall, ToolOutput
from openai_runs.toolbox.signature import read_signature

_Function = TypeVar("_Function", bound=Callable[..., Any])

_log: Final = logging.getLogger("openai_runs.toolbox")

#: Outcomes that a toolbox remembers. Each is needed from its call until the endpoint has the output, and a little
#: longer by whoever follows the same run with an older snapshot; so this is far above the runs that wait at one time.
_REMEMBERED: Final = 4096

#: The toolboxes in whose calls the current task is.
_inside: ContextVar[tuple["Toolbox", ...]] = ContextVar("_inside", default=())


@frozen
class _Failure:
    """A call that has no output."""

    text: str  #: for the model and for people
    cause: Exception


#: The run's ID, and the call's ID, function and arguments.
_Key: TypeAlias = tuple[str | None, str, str, str]
_Outcome: TypeAlias = str | _Failure


@frozen
class _Tool:
    """A function, and what it takes to call it."""

    function: Callable[..., Any]
    definition: FunctionTool
    decoder: msgspec.json.Decoder[msgspec.Struct]
    timeout: float | None

    def arguments(self, text: str) -> dict[str, Any]:
        """Read what a model wrote; a function without parameters is often called with no text at all."""
        return msgspec.structs.asdict(self.decoder.decode(text or "{}"))


class Toolbox:
    """Functions that a model may call, and the answers to its calls.

    Closures are the way to give a tool a database session or the current user: a toolbox costs little, so one may be
    made for each request. It may also be shared by any number of runs, in one event loop at a time.

    Args:
        max_concurrency: Calls that may be in progress at once, over all runs that this toolbox answers. Calls for
            runs that a tool itself starts and waits for come on top, since the tool could never end without them.
        timeout: Seconds for each call, from its start; ``None`` for no limit.
        on_error: ``"report"`` makes every failure an output that the model can read, ``{"error": "..."}``, and logs
            it as a warning; the text of the tool's exception is in it, the traceback is not. ``"raise"`` ends the
            round with a `ToolError`.
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
        self._places = anyio.CapacityLimiter(max_concurrency)
        self._running: dict[_Key, anyio.Event] = {}
        # What is known of a call: how it ended, or the thread that is still at it though nobody waits any more.
        self._memory: OrderedDict[_Key, _Outcome | Future[Any]] = OrderedDict()

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
        """Add a function; a decorator, with or without arguments, that leaves the function as it is.

        Type hints and docstring say what the model is told: annotate each parameter with what `msgspec` can read from
        JSON, and describe it in the docstring, in any of the usual styles. ``Annotated[int, msgspec.Meta(ge=1)]`` adds
        limits. A synchronous function runs in a thread. What a tool returns is sent as it is if it is a
        string, else as JSON, so ``None`` is ``null``.

        Args:
            function: A function or bound method, synchronous or not.
            name: Another name than the function's; 1 to 64 of ``a-z A-Z 0-9 _ -``.
            description: Another description than the docstring's.
            timeout: Seconds, instead of the toolbox's; `math.inf` for no limit.
            strict: Ask the endpoint to keep to the schema exactly. The model has to fill in every parameter then,
                optional ones too, and free-form mappings are not allowed.

        Raises:
            TypeError: No schema can be made of the function; says which parameter is at fault and what to do.
            ValueError: The name is taken or not allowed, or the timeout is not positive.
        """
        if function is None:
            return partial(self.tool, name=name, description=description, timeout=timeout, strict=strict)
        if not inspect.isroutine(function) or _yields(function):
            raise TypeError(f"a tool is a function that returns its result, not {function!r}: wrap that in one")
        check_seconds("timeout", timeout, none=True)
        name = name or function.__name__
        if broken := NAME.broken(name):
            raise ValueError(f"tool name {name!r} {broken}: pass another as name=...")
        if name in self._tools:
            raise ValueError(f"there is a tool {name!r} already: pass another name as name=...")
        signature = read_signature(function, strict=bool(strict))
        self._tools[name] = _Tool(
            function=function,
            definition=FunctionTool(
                function=Function(
                    name=name,
                    description=description or signature.description,
                    parameters=signature.schema,
                    strict=strict,
                )
            ),
            decoder=msgspec.json.Decoder(signature.arguments),
            timeout=self._timeout if timeout is None else timeout,
        )
        return function

    async def answer(self, calls: Iterable[FunctionToolCall], *, run_id: str | None = None) -> tuple[ToolOutput, ...]:
        """Call the tools that a model asked for, at the same time, and gather their outputs.

        A call is made once. Asked for it again, because its output was lost on the way or because somebody else
        follows the same run, the toolbox gives the same answer again, or waits for the one it is working on. A call
        that was cancelled has no answer, so it is made anew; where it went on in a thread, the answer is the thread's.
        The latest 4096 calls are remembered.

        Args:
            calls: The pending calls of a run.
            run_id: The run's ID. Needed if the endpoint does not make call IDs that are unique over all runs.

        Returns:
            The outputs, in the order of the calls.

        Raises:
            ToolError: A call failed and ``on_error`` is ``"raise"``. The other calls of the round were cancelled.
        """
        calls = tuple(calls)
        outputs: dict[int, str] = {}
        failures: list[tuple[FunctionToolCall, _Failure]] = []

        async def answer_one(index: int, call: FunctionToolCall) -> None:
            outcome = await self._outcome(call, run_id)
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
                f"tool {call.function.name!r} gave no answer to {call.id}: {failure.text}", tool_call=call
            ) from failure.cause
        return tuple(ToolOutput(tool_call_id=call.id, output=outputs[index]) for index, call in enumerate(calls))

    def forget(self, calls: Iterable[FunctionToolCall], *, run_id: str | None = None) -> None:
        """Forget the answers to calls, so that they are made anew: after a `ToolError`, say, whose reason is gone."""
        for call in calls:
            self._memory.pop(_key(call, run_id), None)

    async def _outcome(self, call: FunctionToolCall, run_id: str | None) -> _Outcome:
        name = call.function.name
        tool = self._tools.get(name)
        if tool is None:
            text = f"there is no tool {name!r}; the tools are: {', '.join(self._tools) or 'none'}"
            return self._failed(call, text, LookupError(text))
        try:
            arguments = tool.arguments(call.function.arguments)
        except Exception as error:  # msgspec's, or of a caller's class that looks at what it is made of
            return self._failed(call, f"invalid arguments: {snippet(str(error))}", error, quotes_arguments=True)
        return await self._once(_key(call, run_id), call, tool, arguments)

    async def _once(self, key: _Key, call: FunctionToolCall, tool: _Tool, arguments: Mapping[str, Any]) -> _Outcome:
        """Make a call, unless it has been made; if another task is making it, wait for that."""
        while (running := self._running.get(key)) is not None:
            await running.wait()  # it may have been cancelled: then nothing is known, and it is our turn
        known = self._memory.get(key)
        if isinstance(known, str | _Failure):
            return known
        done = self._running[key] = anyio.Event()
        try:
            outcome = await self._make(key, call, tool, arguments)
            self._remember(key, outcome)
        finally:
            del self._running[key]
            done.set()
        return outcome

    def _remember(self, key: _Key, known: _Outcome | Future[Any]) -> None:
        self._memory[key] = known
        if len(self._memory) > _REMEMBERED:
            self._memory.popitem(last=False)

    async def _make(self, key: _Key, call: FunctionToolCall, tool: _Tool, arguments: Mapping[str, Any]) -> _Outcome:
        inside = _inside.get()
        async with nullcontext() if self in inside else self._places:
            _inside.set((*inside, self))  # in this call's own task only
            try:
                with anyio.move_on_after(tool.timeout):
                    return _output(await self._call(key, tool, arguments))
            except Exception as error:  # whatever the caller's function raises is a failure of this one call
                return self._failed(call, snippet(f"{type(error).__name__}: {error}", 1000), error)
            except asyncio.CancelledError as error:
                if asyncio.current_task().cancelling():  # type: ignore[union-attr]  # a coroutine runs in a task
                    raise
                # Nobody cancels us: somebody else cancelled what the tool was waiting for.
                text = "what the tool waited for was cancelled"
                cause = RuntimeError(text)
                cause.__cause__ = error
                return self._failed(call, text, cause)
        text = f"no answer within {tool.timeout:g} seconds"
        return self._failed(call, text, TimeoutError(text))

    async def _call(self, key: _Key, tool: _Tool, arguments: Mapping[str, Any]) -> Any:
        if inspect.iscoroutinefunction(tool.function):
            return await tool.function(**arguments)
        result = await self._in_thread(key, partial(tool.function, **arguments))
        return await result if inspect.isawaitable(result) else result  # of a decorated coroutine function, say

    async def _in_thread(self, key: _Key, call: Callable[[], Any]) -> Any:
        """Make a call in a thread of its own, or wait for the thread that is making it.

        A thread cannot be stopped. To wait for it would make timeouts, deadlines and Ctrl-C wait as well, so it is
        abandoned; but it stays known, since to start a second one for the same call would do its work twice.
        """
        thread = self._memory.get(key)
        if not isinstance(thread, Future):
            thread = Future()
            thread.set_running_or_notify_cancel()  # so that cancelling whoever waits for it does not cancel it
            # A daemon, unlike the threads of asyncio and anyio: for those, Python waits at its end.
            Thread(target=copy_context().run, args=(_settle, thread, call), name=f"tool {key[2]}", daemon=True).start()
            self._remember(key, thread)
        return await asyncio.wrap_future(thread)

    def _failed(
        self, call: FunctionToolCall, text: str, cause: Exception, *, quotes_arguments: bool = False
    ) -> _Outcome:
        """The outcome of a failed call, as the caller wants it."""
        if self._on_error == "raise":
            return _Failure(text, cause)
        # Arguments may hold personal data, which a log at this level must not.
        _log.warning(
            "tool %r gave no answer to %s: %s",
            call.function.name,
            call.id,
            "invalid arguments" if quotes_arguments else text,
            exc_info=None if quotes_arguments else cause,
        )
        return _wire.encode({"error": text}).decode()


def _settle(thread: "Future[Any]", call: Callable[[], Any]) -> None:
    """Make a call in the current thread, and leave what comes of it in ``thread``."""
    try:
        try:
            result = call()
        except StopIteration as error:  # which no future takes, as no coroutine raises it
            raise RuntimeError("the tool raised StopIteration") from error
    except BaseException as error:  # raised again by whoever waits for the thread
        thread.set_exception(error)
    else:
        thread.set_result(result)


def _key(call: FunctionToolCall, run_id: str | None) -> _Key:
    # Some servers count `call_0`, `call_1` anew for each run, or for each round: an ID alone may not be enough.
    return run_id, call.id, call.function.name, call.function.arguments


def _yields(function: Callable[..., Any]) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _output(value: Any) -> str:
    """What a tool returned, as the API takes it."""
    if isinstance(value, str):
        return str.__str__(value)  # a plain one, also of an enum's member
    return msgspec.json.encode(_plain(value)).decode()


def _plain(value: Any) -> Any:
    """The API's JSON in place of our models, which msgspec takes for attrs classes like any other."""
    match value:
        case Model() | Unknown():
            return _wire.dump(value)
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value
