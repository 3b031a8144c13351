"""What a session has sent: its calls, the requests of each, and what became of them. No judgement here."""

import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from attrs import define, field

from openai_runs._http import prepared_requests
from openai_runs.session import Session
from tests.proxy import REQUEST_NAME

#: In place of a path: a run that was started is looked for, in whatever way.
LOOK: Final = "the run that was started"


@define(eq=False)
class Sent:
    """A request that was sent once."""

    name: str  #: by which the network knows it
    method: str
    path: str
    is_look: bool  #: whether it only finds out about another request
    failure: BaseException | None = None


@define(eq=False)
class Call:
    """What the library treats as one request: it is repeated as often as allowed, looks included."""

    method: str
    path: str
    is_single: bool  #: whether it is sent once, whatever happens
    is_stream: bool
    can_look: bool  #: whether a look tells that it took effect
    sent: list[Sent] = field(factory=list)
    error: BaseException | None = None

    @property
    def failures(self) -> int:
        """How many of its requests have failed, looks not counted."""
        return sum(request.failure is not None and not request.is_look for request in self.sent)

    @property
    def last_looks(self) -> list[Sent]:
        """The looks since the latest attempt."""
        latest = max((index for index, request in enumerate(self.sent) if not request.is_look), default=-1)
        return self.sent[latest + 1 :]


@define
class History:
    """All calls of a session, in the order of their beginnings."""

    calls: list[Call] = field(factory=list, init=False)
    is_over: bool = field(default=False, init=False)  #: whether further calls are of no interest
    _numbers: Iterator[int] = field(factory=itertools.count, init=False)
    _call: ContextVar[Call | None] = field(factory=lambda: ContextVar("call", default=None), init=False)
    _sent: ContextVar[Sent | None] = field(factory=lambda: ContextVar("sent", default=None), init=False)

    def raised(self, error: BaseException) -> Call | None:
        """The call that has raised an error."""
        return next((call for call in reversed(self.calls) if call.error is error), None)

    def count(self, path: str, is_wanted: Callable[[Sent], bool]) -> int:
        """How many POST requests to a path were of some kind."""
        sent = (request for call in self.calls for request in call.sent)
        return sum(is_wanted(one) for one in sent if one.method == "POST" and one.path.endswith(path))

    def watch(self, session: Session) -> None:
        """Note all that a session sends from now on."""
        transport: Any = session._transport
        for name in ("request", "stream", "repeat", "send", "open"):
            setattr(transport, name, self._noting_call(name, getattr(transport, name)))
        sender: Any = transport._sender
        for name in ("send", "stream"):
            setattr(sender, name, self._noting_sent(getattr(sender, name)))
        sender._head = self._named(sender._head)
        prepared_requests._OWN[REQUEST_NAME] = ""  # so that requests with it go the way of those without

    def _noting_call(self, kind: str, send: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        takes_method = kind in ("request", "send")

        async def call(*args: Any, **options: Any) -> Any:
            if self._call.get() is not None:  # a look
                return await send(*args, **options)
            if kind == "repeat":
                noted = Call("GET", LOOK, is_single=False, is_stream=False, can_look=False)
            else:
                method, url = args[:2] if takes_method else (options.get("method", "POST"), args[0])
                is_single, can_look = kind in ("send", "open"), options.get("find") is not None
                noted = Call(method, url.path, is_single, kind in ("stream", "open"), can_look)
            if not self.is_over:
                self.calls.append(noted)
            with _set(self._call, noted):
                try:
                    return await send(*args, **options)
                except BaseException as error:
                    noted.error = error
                    raise

        return call

    def _noting_sent(self, send: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def once(method: str, url: Any, *args: Any, **options: Any) -> Any:
            call = self._call.get()
            assert call is not None, "every request belongs to a call"
            is_look = call.path != LOOK and (method, url.path) != (call.method, call.path)
            sent = Sent(str(next(self._numbers)), method, url.path, is_look)
            call.sent.append(sent)
            with _set(self._sent, sent):
                try:
                    return await send(method, url, *args, **options)
                except BaseException as error:
                    sent.failure = error
                    raise

        return once

    def _named(self, head: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def named(
            method: str, url: Any, data: Any, timeout: Any, headers: dict[str, str] | None, *rest: Any
        ) -> Any:
            sent = self._sent.get()
            assert sent is not None
            return await head(method, url, data, timeout, {**(headers or {}), REQUEST_NAME: sent.name}, *rest)

        return named


@contextmanager
def _set(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
