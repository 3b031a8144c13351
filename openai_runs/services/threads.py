"""Threads: conversations, to which runs add messages."""

from typing import TYPE_CHECKING, Unpack

from openai_runs import _habits
from openai_runs._http.creation import Creation
from openai_runs._http.deletion import delete
from openai_runs._http.overrides import further, overrides_of, take_overrides
from openai_runs._http.pages import Listing
from openai_runs._http.transport import Transport
from openai_runs._wire.parameters import check_params
from openai_runs._wire.paths import THREAD, THREAD_RUNS, THREADS
from openai_runs._wire.signatures import spelled_out
from openai_runs.following.options import ThreadRunStreamParams, hint_unanswered, split_options
from openai_runs.following.run_requests import RunRequests
from openai_runs.models.assistant import Deleted
from openai_runs.models.page import ListRequest, Page
from openai_runs.models.request_options import RequestOptions
from openai_runs.models.run import Run, ThreadRunCreateRequest
from openai_runs.models.thread import Thread, ThreadCreateRequest, ThreadUpdateRequest

if TYPE_CHECKING:  # imported in the methods that need it, so that other programs start faster
    from openai_runs.following.streaming import RunStream


@spelled_out
class ThreadsService:
    """``session.threads``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    if not TYPE_CHECKING:  # type checkers are to report them
        __getattr__ = _habits.missing(_habits.THREADS)

    async def create(self, *, idempotency_key: str | None = None, **params: Unpack[ThreadCreateRequest]) -> Thread:
        """Create a thread, empty or with messages; never more than one, where the endpoint honours idempotency keys.

        Args:
            idempotency_key: A key of your own, 1 to 255 characters: with it, repeating the call is no second creation.
            **params: See `ThreadCreateParams` and `RequestOptions`.

        Raises:
            BadRequestError: The endpoint refuses a parameter.
            TransportError: No usable response. If ``maybe_done``, the thread may exist.

        Source: Assistants v2 API, operation ``createThread``.
        """
        check_params(params, ThreadCreateRequest)
        overrides, url = take_overrides(params), self._transport.url(THREADS)
        return await Creation(self._transport, url, Thread, params, idempotency_key, overrides).send()

    async def retrieve(self, thread_id: str, **options: Unpack[RequestOptions]) -> Thread:
        """Fetch a thread, without its messages: `MessagesService.list` fetches those.

        Args:
            thread_id: The thread's ID.
            **options: See `RequestOptions`.

        Raises:
            NotFoundError: There is no such thread.

        Source: Assistants v2 API, operation ``getThread``.
        """
        url = self._transport.url(THREAD, thread_id=thread_id)
        return await self._transport.request("GET", url, Thread, overrides=overrides_of(options))

    async def update(self, thread_id: str, **params: Unpack[ThreadUpdateRequest]) -> Thread:
        """Change the parameters that are given; the others stay as they are.

        Args:
            thread_id: The thread's ID.
            **params: See `ThreadUpdateParams` and `RequestOptions`.

        Raises:
            NotFoundError: There is no such thread.

        Source: Assistants v2 API, operation ``modifyThread``.
        """
        check_params(params, ThreadUpdateRequest)
        overrides, url = take_overrides(params), self._transport.url(THREAD, thread_id=thread_id)
        return await self._transport.request("POST", url, Thread, body=params, overrides=overrides)

    async def delete(self, thread_id: str, **options: Unpack[RequestOptions]) -> Deleted:
        """Delete a thread with its messages, runs and run steps.

        Args:
            thread_id: The thread's ID.
            **options: See `RequestOptions`.

        Raises:
            NotFoundError: There is no such thread.

        Source: Assistants v2 API, operation ``deleteThread``.
        """
        url = self._transport.url(THREAD, thread_id=thread_id)
        deleted = Deleted(id=thread_id, object="thread.deleted")
        return await delete(self._transport, url, Thread, deleted, overrides_of(options))

    def list(self, **query: Unpack[ListRequest]) -> Listing[Thread]:
        """List all threads, newest first: iterate with ``async for``, or ``await ….page()`` for one page.

        Args:
            **query: See `ListParams` and `RequestOptions`.

        Raises:
            NotFoundError: The endpoint is not this library's server: the API cannot list threads.

        Source: this library's server, ``GET /threads``.
        """
        check_params(query, ListRequest)
        overrides = take_overrides(query)
        return Listing(self._transport, Page[Thread], THREADS, {}, query, overrides=overrides)

    async def create_and_run(
        self, *, idempotency_key: str | None = None, **params: Unpack[ThreadRunCreateRequest]
    ) -> Run:
        """Create a thread and start a run on it, in one request; never twice, where idempotency keys are honoured.

        Args:
            idempotency_key: A key of your own, 1 to 255 characters: with it, repeating the call starts no second run.
            **params: See `ThreadRunCreateParams`, of which ``assistant_id`` is required, and `RequestOptions`.

        Raises:
            NotFoundError: There is no such assistant.
            TransportError: No usable response. If ``maybe_done``, the run may exist on a thread whose ID is lost. Where
                keys are not honoured, `create` followed by `RunsService.create`, one request more, can find out.

        Source: Assistants v2 API, operation ``createThreadAndRun``.
        """
        check_params(params, ThreadRunCreateRequest)
        overrides, url = take_overrides(params), self._transport.url(THREAD_RUNS)
        return await Creation(self._transport, url, Run, params, idempotency_key, overrides).send()

    def stream_run(self, *, idempotency_key: str | None = None, **params: Unpack[ThreadRunStreamParams]) -> "RunStream":
        """Create a thread, start a run on it, and stream its events: see `RunsService.stream`.

        Args:
            idempotency_key: See `create_and_run`.
            **params: See `ThreadRunCreateParams`, of which ``assistant_id`` is required, `FollowOptions` and
                `RequestOptions`.

        Returns:
            A `RunStream`, whose first event is `ThreadCreated`. After a lost response, it raises what `create_and_run`
            raises.

        Source: Assistants v2 API, operation ``createThreadAndRun``.
        """
        from openai_runs.following.follower import Follower
        from openai_runs.following.streaming import RunStream

        check_params(params, ThreadRunStreamParams)
        body, options = split_options(params)
        overrides, url = take_overrides(body), self._transport.url(THREAD_RUNS)
        creation = Creation(self._transport, url, Run, {**body, "stream": True}, idempotency_key, overrides)
        requests = RunRequests(self._transport, "the run on a new thread", overrides=further(overrides))
        follower = Follower(requests.found_by(creation), None, **options)
        return RunStream(follower, creation.stream, hint=hint_unanswered(params))
