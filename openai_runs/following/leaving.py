"""`Leaving`: how following a run stops: a last look after the deadline, and cancelling the run if `on_exit` says so.

Also a run that is only being started, whose ID nobody knows yet: its request may still arrive after it was given up.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeAlias, TypeVar

import anyio
from attrs import define, field

from openai_runs._finishing import wait_until_done
from openai_runs._http.retries import is_outage, may_be_done
from openai_runs.errors import OpenAIRunsError
from openai_runs.following.options import OnExit
from openai_runs.following.run_requests import RunRequests
from openai_runs.models.run import Run

_logger = logging.getLogger("openai_runs.following")
T = TypeVar("T")
#: Takes over what the start returned after its caller had given up; or, with ``None``, reads on in the stream that is
#: open, which has the ID of a run that is not known yet. Returns whether there is more.
ReadOn: TypeAlias = Callable[[Any], Awaitable[bool]]
Receive: TypeAlias = Callable[[Run], None]

#: Seconds that cancelling the run may take when following stops early; after a deadline, with the last look at the run.
_CANCEL_TIMEOUT: Final = 5.0
#: Seconds between two looks for a run that is being started.
_LOOK_EVERY: Final = 0.25


@define
class Leaving:
    """What is known of the run's start, and what has to be done about the run when following stops."""

    _requests: RunRequests
    _on_exit: OnExit
    until: float = field(default=math.inf, init=False)  #: after the deadline, when everything has to be finished
    _starting: asyncio.Task[Any] | None = field(default=None, init=False)  # the request that starts the run
    _cancelling: asyncio.Task[None] | None = field(default=None, init=False)  # the last thing that is done
    _was_refused: bool = field(default=False, init=False)  # the run was not started: there is nothing to cancel

    async def start(self, request: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Send the request that starts or continues the run."""
        if self._on_exit == "leave":
            return await request()
        # In a task of its own, which goes on if this one is cancelled: a request that is abandoned may still start the
        # run, and only its response has the run's ID.
        task: asyncio.Task[T] = asyncio.create_task(request())
        self._starting = task
        await asyncio.wait([task])
        self._starting = None
        return task.result()

    def note_failed_start(self, error: Exception) -> None:
        """Note with which error the request that starts or continues the run has failed."""
        self._was_refused = not self._requests.has_address and not may_be_done(error)

    def note_deadline(self) -> None:
        """Note that the deadline has passed; later calls change nothing."""
        if self.until == math.inf:
            self.until = anyio.current_time() + _CANCEL_TIMEOUT

    async def last_look(self, error: Exception) -> Run | None:
        """Look at the run once more, and return what there is; raise ``error``, the deadline's, if looking fails."""
        with anyio.move_on_after(_CANCEL_TIMEOUT / 2):  # the rest of the time is for cancelling the run
            try:
                return await self._requests.look()
            except Exception as failure:  # of any kind, api_key()'s own too: the deadline's doubt must not get lost
                error.add_note(f"A last look at the run failed: {_reason(failure)}")
                raise error from None
        return None

    async def leave(self, run: Run | None, receive: Receive, read_on: ReadOn | None) -> None:
        """Cancel the run if ``on_exit`` says so, unless it has ended.

        Args:
            run: The latest snapshot.
            receive: Called with each newer one.
            read_on: For a stream; see `ReadOn`.
        """
        if self._on_exit == "leave" or self._was_refused or (run is not None and run.status.is_terminal):
            return
        if self._cancelling is None:
            self._cancelling = asyncio.create_task(self._cancel_run(receive, read_on))
        # As a rule the caller's task is being cancelled, and that may happen again meanwhile.
        await wait_until_done(self._cancelling)

    async def _cancel_run(self, receive: Receive, read_on: ReadOn | None) -> None:
        with anyio.move_on_at(min(self.until, anyio.current_time() + _CANCEL_TIMEOUT)) as scope:
            try:
                await self._find_started(receive, read_on)
                if not self._was_refused:
                    receive(await self._requests.cancel_unless_ended())
            except Exception as error:  # of any kind, as above: logged only, or it would hide what ended following
                _logger.warning("%s could not be cancelled: %s", self._requests.name, _reason(error))
        if scope.cancelled_caught:
            _logger.warning("%s could not be cancelled within %s s", self._requests.name, _CANCEL_TIMEOUT)
        if (starting := self._starting) is not None:
            starting.cancel()
            await asyncio.wait([starting])
            if read_on is not None and not starting.cancelled() and starting.exception() is None:
                await read_on(starting.result())

    async def _find_started(self, receive: Receive, read_on: ReadOn | None) -> None:
        """Find the run that is being started: its request may arrive after the first look for it, so look again."""
        requests = self._requests
        while not requests.has_address:
            starting = self._starting
            if starting is not None and starting.done():
                self._starting = None
                if (error := starting.exception()) is None:
                    if read_on is not None:
                        await read_on(starting.result())
                elif isinstance(error, Exception) and not may_be_done(error):
                    self._was_refused = True
                    return
            elif requests.can_be_found:
                if (run := await self._look_for_start(starting)) is not None:
                    receive(run)
            elif starting is not None:
                await asyncio.wait([starting])
            elif read_on is None or not await read_on(None):
                requests.url  # noqa: B018  # raises an error that says that it is not known

    async def _look_for_start(self, starting: asyncio.Task[Any] | None) -> Run | None:
        """Look for the run once; wait a little if it is not there."""
        try:
            if (run := await self._requests.look()) is not None:
                return run
        except OpenAIRunsError as error:
            if not is_outage(error):
                raise
        if starting is not None:
            await asyncio.wait([starting], timeout=_LOOK_EVERY)
        else:
            await anyio.sleep(_LOOK_EVERY)
        return None


def _reason(error: Exception) -> object:
    """What to say of an error; of one that is not this library's only its type, since its text may be secret."""
    return error if isinstance(error, OpenAIRunsError) else type(error).__name__
