"""A run's events, passed on to a browser as they come: as server-sent events of a web app of yours.

Whatever can be iterated over can be relayed: a stream of a session, its text alone, or values of your own.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio
from attrs import define, field

from openai_runs import _wire
from openai_runs._http import sse
from openai_runs.errors import OpenAIRunsError
from openai_runs.events import (
    MessageChanged,
    PollingTookOver,
    StatusChanged,
    StepChanged,
    ThreadCreated,
    ToolOutputsSubmitted,
    UnknownEvent,
)
from openai_runs.models.delta import MessageDelta, RunStepDelta

if TYPE_CHECKING:  # other frameworks' programs need not load aiohttp's server
    from aiohttp import web

_logger = logging.getLogger("openai_runs.relay")

#: Headers of a response with events.
HEADERS: Final[Mapping[str, str]] = sse.HEADERS

#: Seconds between two signs of life on a connection on which nothing else moves.
HEARTBEAT: Final = 15.0

#: Makes of an event what is sent: a tuple of a name and anything that JSON can hold; or the latter alone, for an event
#: without a name; or ``None``, for nothing. Models are fine, too.
Encode: TypeAlias = Callable[[Any], Any]

_NOT_SHOWN: Final = (
    MessageChanged,
    PollingTookOver,
    RunStepDelta,
    StepChanged,
    ThreadCreated,
    ToolOutputsSubmitted,
    UnknownEvent,
)


def shown(event: Any) -> Any:
    """What a browser gets to see unless you say otherwise: the text, and where the run stands.

    ``text`` has ``{"message_id": …, "text": …}``, ``status`` has ``{"thread_id": …, "run_id": …, "status": …}``. A
    run's instructions, tools and metadata, and its steps with tools' arguments and outputs, are not for everybody: they
    are left out. What is no event of this library is sent as it is.
    """
    if isinstance(event, MessageDelta):
        return ("text", {"message_id": event.id, "text": event.text}) if event.text else None
    if isinstance(event, StatusChanged):
        run = event.run
        return "status", {"thread_id": run.thread_id, "run_id": run.id, "status": run.status}
    return None if isinstance(event, _NOT_SHOWN) else event


async def relay(
    request: "web.BaseRequest", events: AsyncIterable[Any], *, encode: Encode = shown, heartbeat: float = HEARTBEAT
) -> "web.StreamResponse":
    """Answer a request to an aiohttp app with events. See `relay_to`.

    Args:
        request: The browser's.
        events: What to relay.
        encode: See `Encode`; the default is `shown`.
        heartbeat: Seconds between two signs of life.

    Returns:
        The answer, for the handler to return.
    """
    from aiohttp import web

    response = web.StreamResponse(headers=HEADERS)
    await response.prepare(request)
    await relay_to(response.write, events, encode=encode, heartbeat=heartbeat)
    return response


async def relay_to(
    write: Callable[[bytes], Awaitable[object]],
    events: AsyncIterable[Any],
    *,
    encode: Encode = shown,
    heartbeat: float = HEARTBEAT,
) -> bool:
    """Write events as server-sent events, each as soon as it comes, and ``done`` at the end.

    If an endpoint fails on the way, the last event is ``error`` instead, without details: those are in the log. If the
    reader leaves, the iteration is left at once; what becomes of the run is for the ``async with`` around it.

    Args:
        write: Sends bytes, waits for a slow reader, and raises an `OSError` if the reader has left.
        events: What to relay; not read ahead of the reader.
        encode: See `Encode`; the default is `shown`.
        heartbeat: Seconds between two signs of life.

    Returns:
        Whether the reader is still there.
    """
    reader, failure = _Reader(write), None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader.keep, heartbeat, tasks.cancel_scope)
        try:
            await _tell(reader, events, encode)
        except _GoneError:
            pass  # it is in what we return
        except Exception as error:  # raised again outside: a task group would wrap it in another one
            failure = error
        reader.keeping.cancel()
    if failure is not None:
        raise failure
    return not reader.is_gone


async def _tell(reader: "_Reader", events: AsyncIterable[Any], encode: Encode) -> None:
    iterator = aiter(events)
    try:
        async for event in iterator:
            if (said := encode(event)) is not None:
                await reader.send(_frame(said))
        await reader.send(sse.DONE)
    except OpenAIRunsError as error:
        _logger.warning("relaying broke off: %s", error)
        await reader.send(_frame(("error", {"message": "The answer broke off."})))
    finally:
        if isinstance(iterator, AsyncGenerator):  # it may have been made for us alone
            await iterator.aclose()


class _GoneError(Exception):
    """The reader has left."""


@define(eq=False)
class _Reader:
    """Who gets the events."""

    _write: Callable[[bytes], Awaitable[object]]
    is_gone: bool = field(default=False, init=False)
    keeping: anyio.CancelScope = field(factory=anyio.CancelScope, init=False)
    _heard: bool = field(default=False, init=False)  # since the last look
    _lock: anyio.Lock = field(factory=partial(anyio.Lock, fast_acquire=True), init=False)

    async def send(self, data: bytes) -> None:
        self._heard = True
        async with self._lock:
            try:
                await self._write(data)
            except OSError as error:
                self.is_gone = True
                raise _GoneError from error

    async def keep(self, heartbeat: float, scope: anyio.CancelScope) -> None:
        """Send something into silence, which keeps the connection, or shows that there is none."""
        with self.keeping:
            while not self.is_gone:
                self._heard = False
                await anyio.sleep(heartbeat)
                if not self._heard:
                    with suppress(_GoneError):
                        await self.send(sse.KEEP_ALIVE)
            scope.cancel()


def _frame(said: Any) -> bytes:
    if isinstance(said, tuple):
        name, data = said
        if not name.isprintable():
            raise ValueError(f"an event's name is one line of text, is {name!r}")
        return sse.frame(name, _wire.encode(data))
    return sse.frame(None, _wire.encode(said))
