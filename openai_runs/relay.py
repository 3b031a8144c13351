"""Relays a run's events from your web app to a browser, as server-sent events.

Any async iterable can be relayed: a `RunStream`, its text alone, or values of your own.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping
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
from openai_runs.models.message import MessageStatus

if TYPE_CHECKING:  # programs on other web frameworks need not load aiohttp's server
    from aiohttp import web

_logger = logging.getLogger("openai_runs.relay")

#: Headers of a response with events.
HEADERS: Final[Mapping[str, str]] = sse.HEADERS

#: Seconds without an event after which a keep-alive comment is sent.
HEARTBEAT: Final = 15.0

#: Turns an event into what is sent: a tuple of a name and a JSON value or model; only the value, for an event without a
#: name; or ``None``, to send nothing.
Encode: TypeAlias = Callable[[Any], Any]

_FINAL: Final = (MessageStatus.COMPLETED, MessageStatus.INCOMPLETE)
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
    """The default `Encode`: sends the text and the run's status.

    ``text`` has ``{"message_id": …, "text": …}``, and ``text.done`` the same with the whole text once that is final:
    after a lost connection it may be another one than the pieces before it, since the model has been asked again.
    ``status`` has ``{"thread_id": …, "run_id": …, "status": …}``. A run's instructions, tools and metadata, and its
    steps with tool arguments and outputs, may be confidential: they are left out. Values that are not events of this
    library are sent as they are.
    """
    if isinstance(event, MessageDelta):
        return ("text", {"message_id": event.id, "text": event.text}) if event.text else None
    if isinstance(event, StatusChanged):
        run = event.run
        return "status", {"thread_id": run.thread_id, "run_id": run.id, "status": run.status}
    if isinstance(event, MessageChanged) and event.message.status in _FINAL and event.message.text:
        return "text.done", {"message_id": event.message.id, "text": event.message.text}
    return None if isinstance(event, _NOT_SHOWN) else event


async def relay(
    request: "web.BaseRequest", events: AsyncIterable[Any], *, encode: Encode = shown, heartbeat: float = HEARTBEAT
) -> "web.StreamResponse":
    """Respond to a request to an aiohttp app with events. See `relay_to`.

    Args:
        request: The browser's request.
        events: What to relay.
        encode: See `Encode`; the default is `shown`.
        heartbeat: Seconds without an event after which a keep-alive comment is sent.

    Returns:
        The finished response, for the handler to return.
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
    """Write events as server-sent events, each as soon as it arrives, and ``done`` at the end.

    If the endpoint fails meanwhile, the last event is ``error`` instead of ``done``. It has no details: those are
    logged. If the reader disconnects, the iteration stops at once; whether the run continues is decided by the
    ``async with`` of its stream.

    Args:
        write: Sends bytes, waits for a slow reader, and raises an `OSError` if the reader has disconnected.
        events: What to relay; the next event is asked for only when the last one is written.
        encode: See `Encode`; the default is `shown`.
        heartbeat: Seconds without an event after which a keep-alive comment is sent.

    Returns:
        Whether the reader is still connected.
    """
    reader = _Reader(write)
    failure: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader.send_heartbeats, heartbeat, tasks.cancel_scope)
        try:
            await _send_events(reader, events, encode)
        except _ReaderGoneError:
            pass  # reported by the return value
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            failure = error  # raised outside the task group, which would wrap it in an exception group
        reader.heartbeats.cancel()
    if (failure := failure or reader.failure) is not None:
        raise failure
    return not reader.is_gone


async def _send_events(reader: "_Reader", events: AsyncIterable[Any], encode: Encode) -> None:
    iterator = aiter(events)
    try:
        async for event in iterator:
            if (encoded := encode(event)) is not None:
                await reader.send(_frame(encoded))
        await reader.send(sse.DONE)
    except OpenAIRunsError as error:
        _logger.warning("relaying stopped early: %s", error)
        await reader.send(_frame(("error", {"message": "The answer broke off."})))
    finally:
        if isinstance(iterator, AsyncGenerator):  # aiter() may have created it, and then nobody else closes it
            await iterator.aclose()


class _ReaderGoneError(Exception):
    """The reader has disconnected."""


@define(eq=False)
class _Reader:
    """The connection to the reader of the events."""

    _write: Callable[[bytes], Awaitable[object]]
    is_gone: bool = field(default=False, init=False)
    failure: BaseException | None = field(default=None, init=False)  #: what ``write`` raised on a heartbeat
    heartbeats: anyio.CancelScope = field(factory=anyio.CancelScope, init=False)
    _was_written: bool = field(default=False, init=False)  # whether anything was, since the last heartbeat
    _lock: anyio.Lock = field(factory=partial(anyio.Lock, fast_acquire=True), init=False)

    async def send(self, data: bytes) -> None:
        self._was_written = True
        async with self._lock:
            try:
                await self._write(data)
            except OSError as error:
                self.is_gone = True
                raise _ReaderGoneError from error

    async def send_heartbeats(self, heartbeat: float, scope: anyio.CancelScope) -> None:
        """Write to an idle connection: that keeps it open, and finds out when the reader is gone; then cancel."""
        with self.heartbeats:
            while not self.is_gone:
                self._was_written = False
                await anyio.sleep(heartbeat)
                if not self._was_written:
                    try:
                        await self.send(sse.KEEP_ALIVE)
                    except _ReaderGoneError:
                        pass  # reported by `is_gone`
                    except (Exception, KeyboardInterrupt, SystemExit) as error:  # raised by `relay_to`
                        self.failure = error
                        break
            scope.cancel()


def _frame(encoded: Any) -> bytes:
    if isinstance(encoded, tuple):
        name, data = encoded
        if not name.isprintable():
            raise ValueError(f"an event's name must be one line of printable text: got {name!r}")
        return sse.frame(name, _wire.encode(data))
    return sse.frame(None, _wire.encode(encoded))
