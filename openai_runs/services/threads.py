"""Threads: conversations, to which runs add messages."""

from functools import partial
from typing import TYPE_CHECKING, Unpack

from openai_runs import _habits
from openai_runs._http.deletion import delete
from openai_runs._http.transport import Transport
from openai_runs._wire.parameters import check_params
from openai_runs._wire.paths import THREAD, THREAD_RUNS, THREADS
from openai_runs._wire.signatures import spelled_out
from openai_runs.following.follower import Follower
from openai_runs.following.options import ThreadRunStreamParams, split_options
from openai_runs.following.run_requests import RunRequests
from openai_runs.models.assistant import Deleted
from openai_runs.models.run import Run, ThreadRunCreateParams
from openai_runs.models.thread import Thread, ThreadCreateParams, ThreadUpdateParams

if TYPE_CHECKING:  # imported in the methods that need it, so that programs without streaming start faster
    from openai_runs.following.streaming import RunStream


@spelled_out
class ThreadsService:
    """``session.threads``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    if not TYPE_CHECKING:  # type checkers are to report them
        __getattr__ = _habits.missing(_habits.THREADS)

    async def create(self, **params: Unpack[ThreadCreateParams]) -> Thread:
        """Create a thread, empty or with messages.

        Args:
            **params: See `ThreadCreateParams`.

        Raises:
            BadRequestError: The endpoint refuses a parameter.
            TransportError: No usable response. If ``maybe_done``, the thread may exist; the request is not repeated.

        Source: Assistants v2 API, operation ``createThread``.
        """
        check_params(params, ThreadCreateParams)
        url = self._transport.url(THREADS)
        return await self._transport.request("POST", url, Thread, body=params, repeatable=False)

    async def retrieve(self, thread_id: str) -> Thread:
        """Fetch a thread, without its messages: `MessagesService.list` fetches those.

        Raises:
            NotFoundError: There is no such thread.

        Source: Assistants v2 API, operation ``getThread``.
        """
        return await self._transport.request("GET", self._transport.url(THREAD, thread_id=thread_id), Thread)

    async def update(self, thread_id: str, **params: Unpack[ThreadUpdateParams]) -> Thread:
        """Change the parameters that are given; the others stay as they are.

        Args:
            thread_id: The thread's ID.
            **params: See `ThreadUpdateParams`.

        Raises:
            NotFoundError: There is no such thread.

        Source: Assistants v2 API, operation ``modifyThread``.
        """
        check_params(params, ThreadUpdateParams)
        url = self._transport.url(THREAD, thread_id=thread_id)
        return await self._transport.request("POST", url, Thread, body=params)

    async def delete(self, thread_id: str) -> Deleted:
        """Delete a thread with its messages, runs and run steps.

        Raises:
            NotFoundError: There is no such thread.

        Source: Assistants v2 API, operation ``deleteThread``.
        """
        url = self._transport.url(THREAD, thread_id=thread_id)
        deleted = Deleted(id=thread_id, object="thread.deleted")
        return await delete(self._transport, url, Thread, deleted)

    async def create_and_run(self, **params: Unpack[ThreadRunCreateParams]) -> Run:
        """Create a thread and start a run on it, in one request.

        Args:
            **params: See `ThreadRunCreateParams`; ``assistant_id`` is required.

        Raises:
            NotFoundError: There is no such assistant.
            TransportError: No usable response. If ``maybe_done``, the run may exist on a thread whose ID is lost, so
                the request is not repeated. `create` followed by `RunsService.create`, one request more, can find out.

        Source: Assistants v2 API, operation ``createThreadAndRun``.
        """
        check_params(params, ThreadRunCreateParams)
        url = self._transport.url(THREAD_RUNS)
        return await self._transport.request("POST", url, Run, body=params, repeatable=False)

    def stream_run(self, **params: Unpack[ThreadRunStreamParams]) -> "RunStream":
        """Create a thread, start a run on it, and stream its events: see `RunsService.stream`.

        Args:
            **params: See `ThreadRunCreateParams`, of which ``assistant_id`` is required, and `FollowOptions`.

        Returns:
            A `RunStream`, whose first event is `ThreadCreated`. After a lost response, it raises what `create_and_run`
            raises.

        Source: Assistants v2 API, operation ``createThreadAndRun``.
        """
        from openai_runs.following.streaming import RunStream

        check_params(params, ThreadRunStreamParams)
        body, options = split_options(params)
        url = self._transport.url(THREAD_RUNS)
        start = partial(self._transport.stream, url, Run, body={**body, "stream": True})
        requests = RunRequests(self._transport, "the run on a new thread")
        return RunStream(Follower(requests, None, **options), start)
