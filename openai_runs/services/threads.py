"""Threads: conversations, which runs add to."""

from functools import partial
from typing import TYPE_CHECKING, Final, Unpack

from openai_runs import _params
from openai_runs._transport import Transport
from openai_runs.lifecycle import Polling
from openai_runs.models.assistant import Deleted
from openai_runs.models.run import Run, ThreadRunCreateParams
from openai_runs.models.thread import Thread, ThreadCreateParams, ThreadUpdateParams
from openai_runs.services.deleting import delete
from openai_runs.services.following import Follower, OnExit, cancels
from openai_runs.services.one_run import OneRun
from openai_runs.toolbox import Toolbox

if TYPE_CHECKING:  # imported where it is used: programs that do not stream need not pay for it
    from openai_runs.services.streaming import RunStream

_ALL: Final = "/threads"
_ONE: Final = "/threads/{thread_id}"
_RUN: Final = "/threads/runs"


class ThreadsService:
    """``session.threads``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(self, **params: Unpack[ThreadCreateParams]) -> Thread:
        """Make a thread, empty or with messages.

        Args:
            **params: See `ThreadCreateParams`.

        Raises:
            BadRequestError: The endpoint refuses a parameter.
            TransportError: No usable answer. If ``maybe_done``, the thread may exist: it is not made twice.

        Source: Assistants v2 API, operation ``createThread``.
        """
        _params.check(params, ThreadCreateParams)
        url = self._transport.url(_ALL)
        return await self._transport.request("POST", url, Thread, body=params, repeatable=False)

    async def retrieve(self, thread_id: str, /) -> Thread:
        """Fetch a thread; its messages are `MessagesService.list`'s.

        Raises:
            NotFoundError: There is no such thread.

        Source: Assistants v2 API, operation ``getThread``.
        """
        return await self._transport.request("GET", self._transport.url(_ONE, thread_id=thread_id), Thread)

    async def update(self, thread_id: str, /, **params: Unpack[ThreadUpdateParams]) -> Thread:
        """Change what is given, leave the rest.

        Args:
            thread_id: Which one.
            **params: See `ThreadUpdateParams`.

        Raises:
            NotFoundError: There is no such thread.

        Source: Assistants v2 API, operation ``modifyThread``.
        """
        _params.check(params, ThreadUpdateParams)
        url = self._transport.url(_ONE, thread_id=thread_id)
        return await self._transport.request("POST", url, Thread, body=params)

    async def delete(self, thread_id: str, /) -> Deleted:
        """Delete a thread with all that is in it.

        Raises:
            NotFoundError: There is no such thread.

        Source: Assistants v2 API, operation ``deleteThread``.
        """
        url = self._transport.url(_ONE, thread_id=thread_id)
        word = Deleted(id=thread_id, object="thread.deleted")
        return await delete(self._transport, url, Thread, word)

    async def create_and_run(self, **params: Unpack[ThreadRunCreateParams]) -> Run:
        """Make a thread and start a run on it, in one request.

        Args:
            **params: See `ThreadRunCreateParams`; ``assistant_id`` is required.

        Raises:
            NotFoundError: There is no such assistant.
            TransportError: No usable answer. If ``maybe_done``, the run may exist, on a thread whose ID nobody knows,
                so it is not started twice. `create` and `RunsService.create` can tell, at one request more.

        Source: Assistants v2 API, operation ``createThreadAndRun``.
        """
        _params.check(params, ThreadRunCreateParams)
        url = self._transport.url(_RUN)
        return await self._transport.request("POST", url, Run, body=params, repeatable=False)

    def stream_run(
        self,
        *,
        toolbox: Toolbox | None = None,
        deadline: float | None = None,
        polling: Polling = Polling(),
        on_exit: OnExit = "leave",
        **params: Unpack[ThreadRunCreateParams],
    ) -> "RunStream":
        """Make a thread, start a run on it, and stream what happens: see `RunsService.stream`.

        Args:
            toolbox: See `RunsService.stream`, as for the other options.
            deadline: Seconds for all of it.
            polling: How often to ask while there is no stream.
            on_exit: What becomes of an unfinished run when the ``async with`` is left.
            **params: See `ThreadRunCreateParams`; ``assistant_id`` is required.

        Returns:
            A `RunStream`, whose first event is `ThreadCreated`. A lost answer is treated as by `create_and_run`.

        Source: Assistants v2 API, operation ``createThreadAndRun``.
        """
        from openai_runs.services.streaming import RunStream

        _params.check(params, ThreadRunCreateParams)
        start = partial(self._transport.stream, self._transport.url(_RUN), Run, body={**params, "stream": True})
        follower = Follower(OneRun(self._transport, "the run on a new thread"), None, deadline, polling, None)
        return RunStream(follower, start, toolbox, cancel_on_exit=cancels(on_exit))
