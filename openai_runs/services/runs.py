"""Runs: start one, follow or stream it to its end, answer its tool calls, cancel it."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import cached_property, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Never, Unpack
from weakref import WeakValueDictionary

from yarl import URL

from openai_runs import _habits
from openai_runs._http.creation import Creation
from openai_runs._http.overrides import Overrides, further, overrides_of, take_overrides, without_body
from openai_runs._http.pages import Listing
from openai_runs._http.transport import Transport
from openai_runs._wire.idempotency import new_key
from openai_runs._wire.parameters import check_params
from openai_runs._wire.paths import ALL_RUNS, RUN_BY_ID, RUNS
from openai_runs._wire.signatures import spelled_out
from openai_runs.events import ActionRequired, RunEvent
from openai_runs.following.options import FollowOptions, RunStreamParams, StreamOptions, hint_unanswered, split_options
from openai_runs.following.polling import Polling
from openai_runs.following.rounds import Submissions
from openai_runs.following.run_requests import RunRequests, ToolOutputs, call_ids, given, with_calls
from openai_runs.models.page import IncludeParams, ListRequest, Page
from openai_runs.models.request_options import RequestOptions
from openai_runs.models.run import Run, RunCreateRequest, RunUpdateRequest, ToolOutputsSubmitParams

if TYPE_CHECKING:  # imported in the methods that need it, so that other programs start faster
    from openai_runs.following.follower import Follower
    from openai_runs.following.run_changes import RunChanges
    from openai_runs.following.run_feed import RunFeed
    from openai_runs.following.streaming import RunStream

#: The key in a run's metadata by which `RunsService.create` finds its run again after a lost response.
MARKER: Final = "openai_runs.create"


@spelled_out
class RunsService:
    """``session.runs``.

    A method takes either a `Run` or its IDs as keywords: ``retrieve(run)`` or ``retrieve(thread_id=…, run_id=…)``.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        # Kept while somebody follows the run: outputs that are submitted meanwhile begin its next round.
        self._submissions: WeakValueDictionary[URL, Submissions] = WeakValueDictionary()
        self._room = asyncio.Semaphore(transport.max_connections)  # for polls

    if not TYPE_CHECKING:  # type checkers are to report them
        __getattr__ = _habits.missing(_habits.RUNS)

    @cached_property
    def _feed(self) -> "RunFeed":
        from openai_runs.following.run_feed import RunFeed  # only here, so that programs without it start faster

        return RunFeed(self._transport)

    async def create(
        self,
        thread_id: str,
        *_positional: Never,
        include: Sequence[str] = (),
        idempotency_key: str | None = None,
        **params: Unpack[RunCreateRequest],
    ) -> Run:
        """Start a run of an assistant on a thread, never more than one.

        Where the endpoint honours idempotency keys, a request whose response is lost is repeated with its key. Unless
        it has said so, the run carries a marker in its metadata, under ``openai_runs.create``, and the thread's runs
        are searched for that marker before the request is repeated. Metadata that already has 16 pairs, the API's
        limit, has no room for the marker; then a request that may have started a run is not repeated.

        Args:
            thread_id: The thread to run on. A thread has at most one active run.
            include: Additional fields that the server should send. The API has one,
                ``step_details.tool_calls[*].file_search.results[*].content``.
            idempotency_key: A key of your own, 1 to 255 characters: with it, repeating the call starts no second run
                where the endpoint honours keys. It is also the marker.
            **params: See `RunCreateParams`, of which ``assistant_id`` is required, and `RequestOptions`.

        Returns:
            The new run, nearly always ``queued``.

        Raises:
            NotFoundError: There is no such thread or assistant.
            BadRequestError: The thread has an active run already; nothing was started.
            TransportError: No usable response. If ``maybe_done``, the run may have been started anyway.

        Source: Assistants v2 API, operation ``createRun``.
        """
        _habits.refuse_positional(_positional, "create(thread_id, assistant_id=…)")
        check_params(params, RunCreateRequest)
        overrides = take_overrides(params)
        return await self._creation(thread_id, idempotency_key, include, params, overrides).send()

    def _creation(
        self,
        thread_id: str,
        idempotency_key: str | None,
        include: Sequence[str],
        params: Mapping[str, Any],
        overrides: Overrides | None,
        streaming: Mapping[str, Any] = MappingProxyType({}),
    ) -> Creation[Run]:
        """The request that starts a run, with a marker to search for unless only the key is needed."""
        check_params({"include": include}, IncludeParams)
        url = self._transport.url(RUNS, {"include[]": include}, thread_id=thread_id)
        if overrides is not None:
            params = overrides.merged(params)  # here, since its metadata has to have the marker, too
            idempotency_key = overrides.idempotency_key or idempotency_key
        key = new_key() if idempotency_key is None else idempotency_key
        given = params.get("metadata") or {}
        has_marker, body = False, params
        if isinstance(given, Mapping):
            # Metadata may have been copied from another run, whose marker says nothing about this one.
            metadata = {name: value for name, value in given.items() if name != MARKER}
            # A caller's own key is always the marker, since whoever repeats the call must send the same body, and may
            # not know yet whether keys are honoured.
            has_marker = len(metadata) < 16 and (idempotency_key is not None or not self._transport.keys.honoured)
            if has_marker:
                metadata[MARKER] = key
            body = params if metadata == given else {**params, "metadata": metadata}

        async def search() -> Run | None:
            newest = self._transport.url(RUNS, thread_id=thread_id)
            return _marked(await self._transport.send("GET", newest, Page[Run], overrides=further(overrides)), key)

        find = search if has_marker else None
        return Creation(self._transport, url, Run, {**body, **streaming}, key, without_body(overrides), search=find)

    async def find_created(self, thread_id: str, idempotency_key: str, **options: Unpack[RequestOptions]) -> Run | None:
        """Look for a run whose creation was given up: among the thread's newest, for the marker of `create`.

        A request that was given up may arrive later, so look again if the run is not there. A run whose metadata had no
        room for the marker is not found.

        Args:
            thread_id: The thread that it was to run on.
            idempotency_key: The key that was passed to `create`.
            **options: See `RequestOptions`.

        Raises:
            NotFoundError: There is no such thread.

        Source: Assistants v2 API, operation ``listRuns``.
        """
        newest, overrides = self._transport.url(RUNS, thread_id=thread_id), overrides_of(options)
        return _marked(await self._transport.request("GET", newest, Page[Run], overrides=overrides), idempotency_key)

    async def retrieve(
        self,
        run: Run | None = None,
        *_positional: Never,
        thread_id: str | None = None,
        run_id: str | None = None,
        **options: Unpack[RequestOptions],
    ) -> Run:
        """Fetch the current state of a run.

        Args:
            run: The run, in any version. Instead of it, give both IDs:
            thread_id: The thread's ID.
            run_id: The run's ID.
            **options: See `RequestOptions`.

        Raises:
            NotFoundError: There is no such thread or run.

        Source: Assistants v2 API, operation ``getRun``.
        """
        _habits.refuse_positional(_positional, "retrieve(run), or retrieve(thread_id=…, run_id=…)")
        return await self._requests(run, thread_id, run_id, overrides_of(options)).retrieve()

    async def update(
        self,
        run: Run | None = None,
        *_positional: Never,
        thread_id: str | None = None,
        run_id: str | None = None,
        **params: Unpack[RunUpdateRequest],
    ) -> Run:
        """Change the metadata of a run; nothing else of it can be changed.

        Args:
            run: The run, as for `retrieve`.
            thread_id: The thread's ID, if there is no ``run``.
            run_id: The run's ID, if there is no ``run``.
            **params: See `RunUpdateParams` and `RequestOptions`.

        Raises:
            NotFoundError: There is no such thread or run.

        Source: Assistants v2 API, operation ``modifyRun``.
        """
        _habits.refuse_positional(_positional, "update(run), or update(thread_id=…, run_id=…)")
        check_params(params, RunUpdateRequest)
        overrides, url = take_overrides(params), self._requests(run, thread_id, run_id).url
        return await self._transport.request("POST", url, Run, body=params, overrides=overrides)

    @_habits.needing(_habits.LIST_RUNS)
    def list(self, thread_id: str, **query: Unpack[ListRequest]) -> Listing[Run]:
        """List a thread's runs, newest first: iterate with ``async for``, or ``await ….page()`` for one page.

        Args:
            thread_id: The thread.
            **query: See `ListParams` and `RequestOptions`.

        Source: Assistants v2 API, operation ``listRuns``.
        """
        check_params(query, ListRequest)
        overrides = take_overrides(query)
        return Listing(self._transport, Page[Run], RUNS, {"thread_id": thread_id}, query, overrides=overrides)

    def list_all(self, **query: Unpack[ListRequest]) -> Listing[Run]:
        """List the runs on all threads, newest first; `list` is for one thread.

        Args:
            **query: See `ListParams` and `RequestOptions`.

        Raises:
            NotFoundError: The endpoint is not this library's server: the API cannot list them.

        Source: this library's server, ``GET /runs``.
        """
        check_params(query, ListRequest)
        overrides = take_overrides(query)
        return Listing(self._transport, Page[Run], ALL_RUNS, {}, query, overrides=overrides)

    async def find(self, run_id: str, **options: Unpack[RequestOptions]) -> Run:
        """Fetch a run whose thread you do not know; `retrieve` needs both IDs.

        Args:
            run_id: The run's ID.
            **options: See `RequestOptions`.

        Raises:
            NotFoundError: There is no such run, or the endpoint is not this library's server.

        Source: this library's server, ``GET /runs/{run_id}``.
        """
        url = self._transport.url(RUN_BY_ID, run_id=run_id)
        return await self._transport.request("GET", url, Run, overrides=overrides_of(options))

    def changes(self, *, polling: Polling | None = None, **options: Unpack[RequestOptions]) -> "RunChanges":
        """All runs of this session's key as they change: ``async with``, then ``async for run in changes``.

        First come the runs that have not ended, then each run whenever it has changed, on whatever thread. It ends when
        you leave; a connection that breaks is opened again, and no end of a run that was told is missed.

        Args:
            polling: Has the time that the endpoint may be unreachable, see `Polling.outage`. Unset: as by default.
            **options: See `RequestOptions`.

        Returns:
            A `RunChanges`. Opening it raises a `NotFoundError` if the endpoint is not this library's server; opening
            and iterating a `TransportError` if it cannot be reached for longer than `Polling.outage`.

        Source: this library's server, ``GET /runs/changes``.
        """
        from openai_runs.following.run_changes import RunChanges

        return RunChanges(self._transport, polling or Polling(), overrides_of(options))

    async def cancel(
        self,
        run: Run | None = None,
        *_positional: Never,
        thread_id: str | None = None,
        run_id: str | None = None,
        **options: Unpack[RequestOptions],
    ) -> Run:
        """Ask the server to cancel a run: it becomes ``cancelling``, then ``cancelled``; it may still complete.

        Args:
            run: The run, as for `retrieve`.
            thread_id: The thread's ID, if there is no ``run``.
            run_id: The run's ID, if there is no ``run``.
            **options: See `RequestOptions`.

        Raises:
            NotFoundError: There is no such thread or run.
            BadRequestError: The run has ended, or is being cancelled already.

        Source: Assistants v2 API, operation ``cancelRun``.
        """
        _habits.refuse_positional(_positional, "cancel(run), or cancel(thread_id=…, run_id=…)")
        return await self._requests(run, thread_id, run_id, overrides_of(options)).cancel()

    async def submit_tool_outputs(
        self,
        run: Run | None = None,
        tool_outputs: ToolOutputs | None = None,
        *_positional: Never,
        thread_id: str | None = None,
        run_id: str | None = None,
        **options: Unpack[RequestOptions],
    ) -> Run:
        """Submit the outputs of a run's pending tool calls, all in one request.

        If the response is lost, the run is fetched to see whether the outputs arrived, before the request is repeated.

        Args:
            run: The run, as for `retrieve`.
            tool_outputs: One output per pending call; `Toolbox.answer` makes them.
            thread_id: The thread's ID, if there is no ``run``.
            run_id: The run's ID, if there is no ``run``.
            **options: See `RequestOptions`.

        Raises:
            NotFoundError: There is no such thread or run.
            BadRequestError: The run is not waiting for outputs, or some are missing.

        Source: Assistants v2 API, operation ``submitToolOuputsToRun``.
        """
        _habits.refuse_positional(
            _positional,
            "submit_tool_outputs(run, outputs), or submit_tool_outputs(thread_id=…, run_id=…, tool_outputs=…)",
        )
        requests = self._requests(run, thread_id, run_id, overrides_of(options))
        return await requests.submit(given(tool_outputs), asked=with_calls(run))

    def follow(
        self,
        run: Run | None = None,
        *_positional: Never,
        thread_id: str | None = None,
        run_id: str | None = None,
        **options: Unpack[FollowOptions],
    ) -> AsyncGenerator[RunEvent, None]:
        """Poll a run until it ends, and yield each change of its status once, `RunEnded` last.

        The iterator holds no connection between two polls. You may stop and follow the same run again later, also in
        another process: its IDs are enough. An endpoint that is unreachable for a while is tolerated, see
        `Polling.outage`.

        Args:
            run: The run, as for `retrieve`.
            thread_id: The thread's ID, if there is no ``run``.
            run_id: The run's ID, if there is no ``run``.
            **options: See `FollowOptions`. With ``on_exit="cancel"``, wrap the iterator in `contextlib.aclosing`, so
                that a ``break`` cancels the run at once.

        Yields:
            `StatusChanged`, `ActionRequired`, `ToolOutputsSubmitted`, `RunEnded`.

        Raises:
            RunDeadlineError: The deadline has passed.
            RunStuckError: The run stayed ``queued`` for longer than `Polling.queued_timeout`.
            ToolError: A tool failed, and the toolbox has ``on_error="raise"``.
            RunActionRequiredError: There is a toolbox, and the run requires an action without any function call.
            NotFoundError: There is no such run, or it no longer exists.
            TransportError: The endpoint was unreachable for longer than `Polling.outage`; or, if only IDs were given,
                the first request failed, retries included.
        """
        _habits.refuse_positional(_positional, "follow(run), or follow(thread_id=…, run_id=…)")
        return self._follower(run, thread_id, run_id, options).events()

    async def complete(
        self,
        run: Run | None = None,
        *_positional: Never,
        thread_id: str | None = None,
        run_id: str | None = None,
        **options: Unpack[FollowOptions],
    ) -> Run:
        """Follow a run until it ends; return it if it completed, raise otherwise.

        Args:
            run: The run, as for `retrieve`.
            thread_id: The thread's ID, if there is no ``run``.
            run_id: The run's ID, if there is no ``run``.
            **options: See `FollowOptions`.

        Raises:
            RunFailedError: The run failed. Also `RunCancelledError`, `RunExpiredError`, `RunIncompleteError`.
            RunActionRequiredError: The run waits for tool outputs and there is no toolbox.
            RunDeadlineError: The deadline has passed; the error's ``run`` is the latest snapshot.
            RunStuckError: See `follow`, which also lists the other errors.
        """
        from openai_runs.following.follower import outcome

        _habits.refuse_positional(_positional, "complete(run), or complete(thread_id=…, run_id=…)")
        follower = self._follower(run, thread_id, run_id, options, only_outcome=True)
        async with aclosing(follower.events()) as events:
            async for event in events:
                run = event.run
                if isinstance(event, ActionRequired) and options.get("toolbox") is None:
                    break
        assert run is not None  # noqa: S101  # for the type checker: the iterator yields at least RunEnded, or raises
        return outcome(run)

    def stream(
        self,
        thread_id: str,
        *_positional: Never,
        include: Sequence[str] = (),
        idempotency_key: str | None = None,
        **params: Unpack[RunStreamParams],
    ) -> "RunStream":
        """Start a run, never more than one, and stream its events: ``async with``, then ``async for`` over it.

        If the connection breaks, the run is polled from then on, which `PollingTookOver` announces. Submitting the next
        tool outputs opens a new stream. No event is repeated, and no text is lost.

        Args:
            thread_id: The thread to run on. A thread has at most one active run.
            include: See `create`.
            idempotency_key: See `create`.
            **params: See `RunCreateParams`, of which ``assistant_id`` is required, `FollowOptions` and
                `RequestOptions`, of which ``extra_body`` is for the first request only. With a ``toolbox`` the stream
                continues through tool calls; without one it ends when the run requires tool outputs. The ``deadline``
                counts from the ``async with``.

        Returns:
            A `RunStream`. Opening it and iterating over it raise what `create` and `follow` raise; and a
            `ResponseError` whose ``status`` is ``None`` if the stream has an ``error`` event.

        Source: Assistants v2 API, operation ``createRun``.
        """
        from openai_runs.following.follower import Follower
        from openai_runs.following.streaming import RunStream

        _habits.refuse_positional(_positional, "stream(thread_id, assistant_id=…)")
        check_params(params, RunStreamParams)
        run_params, options = split_options(params)
        overrides = take_overrides(run_params)
        creation = self._creation(thread_id, idempotency_key, include, run_params, overrides, {"stream": True})
        requests = RunRequests(self._transport, f"the run on {thread_id}", overrides=further(overrides))
        follower = Follower(requests.found_by(creation), None, **options)
        return RunStream(follower, creation.stream, hint=hint_unanswered(params))

    def stream_tool_outputs(
        self,
        run: Run | None = None,
        tool_outputs: ToolOutputs | None = None,
        *_positional: Never,
        thread_id: str | None = None,
        run_id: str | None = None,
        **options: Unpack[StreamOptions],
    ) -> "RunStream":
        """Submit the outputs of a run's pending tool calls, and stream the events that follow. See `stream`.

        Args:
            run: The run, as for `retrieve`.
            tool_outputs: See `submit_tool_outputs`.
            thread_id: The thread's ID, if there is no ``run``.
            run_id: The run's ID, if there is no ``run``.
            **options: See `FollowOptions` and `RequestOptions`; ``extra_body`` is for the first request only.

        Source: Assistants v2 API, operation ``submitToolOuputsToRun``.
        """
        _habits.refuse_positional(
            _positional,
            "stream_tool_outputs(run, outputs), or stream_tool_outputs(thread_id=…, run_id=…, tool_outputs=…)",
        )
        from openai_runs.following.follower import Follower
        from openai_runs.following.streaming import RunStream

        check_params(options, StreamOptions)
        rest, follow_options = split_options(options)
        overrides, outputs = take_overrides(rest), given(tool_outputs)
        check_params({"tool_outputs": outputs}, ToolOutputsSubmitParams)  # here rather than when the stream is opened
        submitting = self._requests(run, thread_id, run_id, overrides)
        start = partial(submitting.stream_outputs, outputs, asked=with_calls(run))
        requests = self._requests(run, thread_id, run_id, further(overrides))
        return RunStream(Follower(requests, run, **follow_options), start, answered=call_ids(outputs))

    def _follower(
        self,
        run: Run | None,
        thread_id: str | None,
        run_id: str | None,
        options: FollowOptions,
        *,
        only_outcome: bool = False,
    ) -> "Follower":
        from openai_runs.following.follower import Follower

        check_params(options, FollowOptions)
        requests = self._requests(run, thread_id, run_id)
        return Follower(requests, run, feed=self._feed, room=self._room, only_outcome=only_outcome, **options)

    def _requests(
        self, run: Run | None, thread_id: str | None, run_id: str | None, overrides: Overrides | None = None
    ) -> RunRequests:
        return RunRequests.of(self._transport, run, thread_id, run_id, self._submissions, overrides)


def _marked(page: Page[Run], key: str) -> Run | None:
    return next((run for run in page.data if (run.metadata or {}).get(MARKER) == key), None)
