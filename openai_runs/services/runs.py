"""Runs: start one, follow or stream it to its end, answer its tool calls, cancel it."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Unpack
from uuid import uuid4
from weakref import WeakValueDictionary

from yarl import URL

from openai_runs import _habits
from openai_runs._http.pages import Listing
from openai_runs._http.transport import Transport
from openai_runs._wire.parameters import check_params
from openai_runs._wire.paths import RUNS
from openai_runs._wire.signatures import spelled_out
from openai_runs.events import ActionRequired, RunEvent
from openai_runs.following.follower import Follower, outcome
from openai_runs.following.options import FollowOptions, RunStreamParams, split_options
from openai_runs.following.run_requests import FindRun, RunRequests, Submissions, ToolOutputs, call_ids
from openai_runs.models.page import IncludeParams, ListParams, Page
from openai_runs.models.run import Run, RunCreateParams, RunStatus, RunUpdateParams, ToolOutputsSubmitParams

if TYPE_CHECKING:  # imported in the methods that need it, so that programs without streaming start faster
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

    if not TYPE_CHECKING:  # type checkers are to report them
        __getattr__ = _habits.missing(_habits.RUNS)

    async def create(self, thread_id: str, *, include: Sequence[str] = (), **params: Unpack[RunCreateParams]) -> Run:
        """Start a run of an assistant on a thread, never more than one.

        The run carries a marker in its metadata, under ``openai_runs.create``. If the response is lost, the thread's
        runs are searched for that marker before the request is repeated. Metadata that already has 16 pairs, the API's
        limit, has no room for the marker; then a request that may have started a run is not repeated.

        Args:
            thread_id: The thread to run on. A thread has at most one active run.
            include: Additional fields that the server should send. The API has one,
                ``step_details.tool_calls[*].file_search.results[*].content``.
            **params: See `RunCreateParams`; ``assistant_id`` is required.

        Returns:
            The new run, nearly always ``queued``.

        Raises:
            NotFoundError: There is no such thread or assistant.
            BadRequestError: The thread has an active run already; nothing was started.
            TransportError: No usable response. If ``maybe_done``, the run may have been started anyway.

        Source: Assistants v2 API, operation ``createRun``.
        """
        check_params(params, RunCreateParams)
        url, body, find = self._create_request(thread_id, include, params)
        return await self._transport.request("POST", url, Run, body=body, repeatable=False, find=find)

    def _create_request(
        self, thread_id: str, include: Sequence[str], params: Mapping[str, Any]
    ) -> tuple[URL, Mapping[str, Any], FindRun | None]:
        """The URL and body that start a run, and a function that finds that run after a lost response, if possible."""
        check_params({"include": include}, IncludeParams)
        url = self._transport.url(RUNS, {"include[]": include}, thread_id=thread_id)
        metadata = params.get("metadata") or {}
        if MARKER not in metadata and len(metadata) >= 16:
            return url, params, None
        marker = metadata.get(MARKER) or uuid4().hex  # callers who set the marker can safely repeat the call, too

        async def find() -> Run | None:
            newest = self._transport.url(RUNS, thread_id=thread_id)
            page = await self._transport.send("GET", newest, Page[Run])
            return next((run for run in page.data if (run.metadata or {}).get(MARKER) == marker), None)

        return url, {**params, "metadata": {**metadata, MARKER: marker}}, find

    async def retrieve(self, run: Run | None = None, *, thread_id: str | None = None, run_id: str | None = None) -> Run:
        """Fetch the current state of a run.

        Args:
            run: The run, in any version. Instead of it, give both IDs:
            thread_id: The thread's ID.
            run_id: The run's ID.

        Raises:
            NotFoundError: There is no such thread or run.

        Source: Assistants v2 API, operation ``getRun``.
        """
        return await self._requests(run, thread_id, run_id).retrieve()

    async def update(
        self,
        run: Run | None = None,
        *,
        thread_id: str | None = None,
        run_id: str | None = None,
        **params: Unpack[RunUpdateParams],
    ) -> Run:
        """Change the metadata of a run; nothing else of it can be changed.

        Args:
            run: The run, as for `retrieve`.
            thread_id: The thread's ID, if there is no ``run``.
            run_id: The run's ID, if there is no ``run``.
            **params: See `RunUpdateParams`.

        Raises:
            NotFoundError: There is no such thread or run.

        Source: Assistants v2 API, operation ``modifyRun``.
        """
        check_params(params, RunUpdateParams)
        return await self._transport.request("POST", self._requests(run, thread_id, run_id).url, Run, body=params)

    def list(self, thread_id: str, **query: Unpack[ListParams]) -> Listing[Run]:
        """List a thread's runs, newest first: iterate with ``async for``, or ``await ….page()`` for one page.

        Args:
            thread_id: The thread.
            **query: See `ListParams`.

        Source: Assistants v2 API, operation ``listRuns``.
        """
        return Listing(self._transport, Page[Run], RUNS, {"thread_id": thread_id}, query, ListParams)

    async def cancel(self, run: Run | None = None, *, thread_id: str | None = None, run_id: str | None = None) -> Run:
        """Ask the server to cancel a run: it becomes ``cancelling``, then ``cancelled``; it may still complete.

        Args:
            run: The run, as for `retrieve`.
            thread_id: The thread's ID, if there is no ``run``.
            run_id: The run's ID, if there is no ``run``.

        Raises:
            NotFoundError: There is no such thread or run.
            BadRequestError: The run has ended, or is being cancelled already.

        Source: Assistants v2 API, operation ``cancelRun``.
        """
        return await self._requests(run, thread_id, run_id).cancel()

    async def submit_tool_outputs(
        self,
        run: Run | None = None,
        tool_outputs: ToolOutputs | None = None,
        *,
        thread_id: str | None = None,
        run_id: str | None = None,
    ) -> Run:
        """Submit the outputs of a run's pending tool calls, all in one request.

        If the response is lost, the run is fetched to see whether the outputs arrived, before the request is repeated.

        Args:
            run: The run, as for `retrieve`.
            tool_outputs: One output per pending call; `Toolbox.answer` makes them.
            thread_id: The thread's ID, if there is no ``run``.
            run_id: The run's ID, if there is no ``run``.

        Raises:
            NotFoundError: There is no such thread or run.
            BadRequestError: The run is not waiting for outputs, or some are missing.

        Source: Assistants v2 API, operation ``submitToolOuputsToRun``.
        """
        return await self._requests(run, thread_id, run_id).submit(_require_outputs(tool_outputs), asked=_waiting(run))

    def follow(
        self,
        run: Run | None = None,
        *,
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
        check_params(options, FollowOptions)
        return Follower(self._requests(run, thread_id, run_id), run, **options).events()

    async def complete(
        self,
        run: Run | None = None,
        *,
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
        async with aclosing(self.follow(run, thread_id=thread_id, run_id=run_id, **options)) as events:
            async for event in events:
                run = event.run
                if isinstance(event, ActionRequired) and options.get("toolbox") is None:
                    break
        assert run is not None  # noqa: S101  # for the type checker: the iterator yields at least RunEnded, or raises
        return outcome(run)

    def stream(self, thread_id: str, *, include: Sequence[str] = (), **params: Unpack[RunStreamParams]) -> "RunStream":
        """Start a run, never more than one, and stream its events: ``async with``, then ``async for`` over it.

        If the connection breaks, the run is polled from then on, which `PollingTookOver` announces. Submitting the next
        tool outputs opens a new stream. No event is repeated, and no text is lost.

        Args:
            thread_id: The thread to run on. A thread has at most one active run.
            include: See `create`.
            **params: See `RunCreateParams`, of which ``assistant_id`` is required, and `FollowOptions`. With a
                ``toolbox`` the stream continues through tool calls; without one it ends when the run requires tool
                outputs. The ``deadline`` counts from the ``async with``.

        Returns:
            A `RunStream`. Opening it and iterating over it raise what `create` and `follow` raise; and a
            `ResponseError` whose ``status`` is ``None`` if the stream has an ``error`` event.

        Source: Assistants v2 API, operation ``createRun``.
        """
        from openai_runs.following.streaming import RunStream

        check_params(params, RunStreamParams)
        run_params, options = split_options(params)
        url, body, find = self._create_request(thread_id, include, run_params)
        start = partial(self._transport.stream, url, Run, body={**body, "stream": True}, find=find)
        requests = RunRequests(self._transport, f"the run on {thread_id}", find=find)
        return RunStream(Follower(requests, None, **options), start)

    def stream_tool_outputs(
        self,
        run: Run | None = None,
        tool_outputs: ToolOutputs | None = None,
        *,
        thread_id: str | None = None,
        run_id: str | None = None,
        **options: Unpack[FollowOptions],
    ) -> "RunStream":
        """Submit the outputs of a run's pending tool calls, and stream the events that follow. See `stream`.

        Args:
            run: The run, as for `retrieve`.
            tool_outputs: See `submit_tool_outputs`.
            thread_id: The thread's ID, if there is no ``run``.
            run_id: The run's ID, if there is no ``run``.
            **options: See `FollowOptions`.

        Source: Assistants v2 API, operation ``submitToolOuputsToRun``.
        """
        from openai_runs.following.streaming import RunStream

        check_params(options, FollowOptions)
        requests, outputs = self._requests(run, thread_id, run_id), _require_outputs(tool_outputs)
        check_params({"tool_outputs": outputs}, ToolOutputsSubmitParams)  # here rather than when the stream is opened
        start = partial(requests.stream_outputs, outputs, asked=_waiting(run))
        return RunStream(Follower(requests, run, **options), start, answered=call_ids(outputs))

    def _requests(self, run: Run | None, thread_id: str | None, run_id: str | None) -> RunRequests:
        return RunRequests.of(self._transport, run, thread_id, run_id, self._submissions)


def _waiting(run: Run | None) -> Run | None:
    """The run, if the snapshot has the calls that it waits for; callers may have an older one."""
    return run if run is not None and run.status is RunStatus.REQUIRES_ACTION else None


def _require_outputs(tool_outputs: ToolOutputs | None) -> ToolOutputs:
    if tool_outputs is None:
        raise TypeError("missing parameter 'tool_outputs'; nothing was sent")
    return tool_outputs
