"""`EndpointPause`: while an endpoint is away, one request at a time asks whether it is back, and all others wait."""

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import anyio
from attrs import define, field

from openai_runs._http.retries import FAILURES, is_unreachable
from openai_runs.following.outages import outage_delay, through_outages
from openai_runs.following.polling import Polling
from openai_runs.session import Session

T = TypeVar("T")


async def comes_back(session: Session, polling: Polling, name: str) -> bool:
    """Send a request that changes nothing, until the endpoint answers it or was away for `Polling.outage` seconds.

    The caller's code, such as an ``api_key`` function, may raise anything.

    Args:
        session: Has the endpoint.
        polling: Has the delays, and the patience.
        name: What waits for it, for the log.

    Returns:
        Whether it has answered.
    """
    try:
        await through_outages(
            session.assistants.list(limit=1).page,  # any list would do
            polling,
            name,
            is_over=lambda error: not is_unreachable(error),
        )
    except FAILURES as error:
        return not is_unreachable(error)
    return True


@define
class _Pause:
    """A pause that is not over yet, and what has come of it then."""

    is_over: anyio.Event = field(factory=anyio.Event, init=False)
    is_back: bool = field(default=False, init=False)


@define(eq=False)
class EndpointPause:
    """The pause of all tasks that use one session, while its endpoint is away.

    It has no task of its own: whoever finds the endpoint away asks for all others until it is back.
    """

    _session: Session
    _polling: Polling
    _name: str  # of what pauses, for the log
    _pause: _Pause | None = field(default=None, init=False)

    async def wait(self) -> None:
        """Wait until the endpoint is back, or was given up; not at all, unless it is known to be away."""
        while self._pause is not None:
            await self._pause.is_over.wait()

    async def through(self, request: Callable[[], Awaitable[T]], name: str) -> T:
        """Send a request as `through_outages` does, but not while the endpoint is known to be away.

        Args:
            request: Sends it.
            name: Of what the request is about, for the log.
        """
        return await through_outages(partial(self._send, request), self._polling, name)

    async def _send(self, request: Callable[[], Awaitable[T]]) -> T:
        failures, began = 0, math.inf
        while True:
            await self.wait()
            try:
                return await request()
            except FAILURES as error:
                began = min(began, anyio.current_time())
                if not is_unreachable(error) or not self._polling.outage:
                    raise
                # A gateway may refuse this request only: then the endpoint is back at once, each time.
                if not await self._sit_out() or anyio.current_time() - began >= self._polling.outage:
                    raise
                delay = outage_delay(self._polling, failures, error)
            failures += 1
            await anyio.sleep(delay)

    async def _sit_out(self) -> bool:
        """Wait until it is known whether the endpoint is back."""
        if (pause := self._pause) is not None:
            await pause.is_over.wait()
            return pause.is_back
        pause = self._pause = _Pause()
        try:
            pause.is_back = await comes_back(self._session, self._polling, self._name)
        except Exception:  # of the caller's code: the requests that follow raise it as well, each where it belongs
            pause.is_back = True
        finally:
            self._pause = None
            pause.is_over.set()
        return pause.is_back
