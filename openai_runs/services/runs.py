"""Runs: start one, look after it, see it through."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Unpack
from uuid import uuid4

from yarl import URL

from openai_runs._http.pages import Listing
from openai_runs._http.transport import Transport
from openai_runs._wire.parameters import check_params
from openai_runs._wire.paths import RUNS
from openai_runs._wire.signatures import spelled_out
from openai_runs.events import ActionRequired, RunEvent
from openai_runs.following.follower import Follower, outcome
from openai_runs.following.options import FollowOptions, RunStreamParams, split_options
from openai_runs.following.run_requests import FindRun, RunRequests, ToolOutputs, call_ids
from openai_runs.models.page import IncludeParams, ListParams, Page
from openai_runs.models.run import Run, RunCreateParams, RunUpdateParams, ToolOutputsSubmitParams

if TYPE_CHECKING:  # imported where it is used: programs that do not stream need not pay for it
    from openai_runs.following.streaming import RunStream

#: The key in a run's metadata by which `RunsService.create` finds its run again after a lost response.
MARKER: Final = "openai_runs.create"


@spelled_out
class RunsService:
    """``session.runs``.

    A run is named by itself, a `Run`, or by its IDs as keywords: ``retrieve(run)`` or ``retrieve(thread_id=…,
    run_id=…)``.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(self, thread_id: str, *, include: Sequence[str] = (), **params: Unpack[RunCreateParams]) -> Run:
        """Start a run of an assistant on a thread, once.

        If the response is lost, the thread's runs are searched for this one before anything is repeated; for that it
        carries a marker in its metadata, under ``openai_runs.create``. Metadata that has 16 pairs already leaves no
        room for it; then a request in doubt is not repeated.

        Args:
            thread_id: Where to run. A thread has at most one active run.
            include: Further fields to send; the API has one,
                ``step_details.tool_calls[*].file_search.results[*].content``.
            **params: See `RunCreateParams`; ``assistant_id`` is required.

        Returns:
            The run as the server first shows it, nearly always ``queued``.

        Raises:
            NotFoundError: There is no such thread or assistant.
            BadRequestError: The thread has an active run already; nothing was started.
            TransportError: No usable response. If ``maybe_done``, the run may have been started all the same.

        Source: Assistants v2 API, operation ``createRun``.
        """
        check_params(params, RunCreateParams)
        url, body, find = self._creation(thread_id, include, params)
        return await self._transport.request("POST", url, Run, body=body, repeatable=False, find=find)

    def _creation(
        self, thread_id: str, include: Sequence[str], params: Mapping[str, Any]
    ) -> tuple[URL, Mapping[str, Any], FindRun | None]:
        """Where and what to send to start a run, and how to find out whether that is done, if there is a way to."""
        check_params({"include": include}, IncludeParams)
        url = self._transport.url(RUNS, {"include[]": include}, thread_id=thread_id)
        metadata = params.get("metadata") or {}
        if MARKER not in metadata and len(metadata) >= 16:
            return url, params, None
        marker = metadata.get(MARKER) or uuid4().hex  # a caller's own marker makes its own repetitions safe as well

        async def find() -> Run | None:
            newest = self._transport.url(RUNS, thread_id=thread_id)
            page = await self._transport.send("GET", newest, Page[Run])
            return next((run for run in page.data if (run.metadata or {}).get(MARKER) == marker), None)

        return url, {**params, "metadata": {**metadata, MARKER: marker}}, find

    async def retrieve(self, run: Run | None = None, *, thread_id: str | None = None, run_id: str | None = None) -> Run:
        """Fetch a run as it stands.

        Args:
            run: The run, as it was; or
            thread_id: its thread's ID, and
            run_id: its own.

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
        """Change the metadata, the one thing of a run that can be changed.

        Args:
            run: The run, as for `retrieve`.
            thread_id: Its thread's ID, instead.
            run_id: Its own.
            **params: See `RunUpdateParams`.

        Raises:
            NotFoundError: There is no such thread or run.

        Source: Assistants v2 API, operation ``modifyRun``.
        """
        check_params(params, RunUpdateParams)
        return await self._transport.request("POST", self._requests(run, thread_id, run_id).url, Run, body=params)

    def list(self, thread_id: str, **query: Unpack[ListParams]) -> Listing[Run]:
        """All runs of a thread, newest first: ``async for``, or ``await ….page()``.

        Args:
            thread_id: The thread.
            **query: See `ListParams`.

        Source: Assistants v2 API, operation ``listRuns``.
        """
        return Listing(self._transport, Page[Run], RUNS, {"thread_id": thread_id}, query, ListParams)

    async def cancel(self, run: Run | None = None, *, thread_id: str | None = None, run_id: str | None = None) -> Run:
        """Ask a run to stop. It is ``cancelling`` then, and ``cancelled`` a little later; it may still complete.

        Args:
            run: The run, as for `retrieve`.
            thread_id: Its thread's ID, instead.
            run_id: Its own.

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
        """Answer the pending tool calls of a run, all in one request.

        If the response is lost, the run is looked at before anything is repeated.

        Args:
            run: The run, as for `retrieve`.
            tool_outputs: An output for each pending call; `Toolbox.answer` makes them.
            thread_id: The run's thread, instead of ``run``.
            run_id: The run's ID.

        Raises:
            NotFoundError: There is no such thread or run.
            BadRequestError: The run does not wait for outputs, or some are missing.

        Source: Assistants v2 API, operation ``submitToolOuputsToRun``.
        """
        return await self._requests(run, thread_id, run_id).submit(_given(tool_outputs))

    def follow(
        self,
        run: Run | None = None,
        *,
        thread_id: str | None = None,
        run_id: str | None = None,
        **options: Unpack[FollowOptions],
    ) -> AsyncGenerator[RunEvent, None]:
        """Follow a run to its end, by polling: each change of status once, `RunEnded` last.

        The iterator holds no connection between two polls. It may be left and taken up again, in another process
        too: an ID is enough. It bears an endpoint that is out of reach for a while, see `Polling.outage`.

        Args:
            run: The run, as for `retrieve`.
            thread_id: Its thread's ID, instead.
            run_id: Its own.
            **options: See `FollowOptions`. With ``on_exit="cancel"``, wrap the iterator in `contextlib.aclosing`, so
                that a ``break`` takes effect at once.

        Yields:
            `StatusChanged`, `ActionRequired`, `ToolOutputsSubmitted`, `RunEnded`.

        Raises:
            RunDeadlineError: The deadline has passed.
            RunStuckError: The run stayed ``queued`` for longer than `Polling.queued_timeout`.
            ToolError: A tool of the toolbox failed, and the toolbox says that this ends the matter.
            NotFoundError: There is no such run (any more).
            TransportError: The endpoint stayed out of reach for longer than `Polling.outage`; or, given IDs only,
                it did not answer at all.
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
        """Follow a run to its end and return it completed, or raise.

        Args:
            run: The run, as for `retrieve`.
            thread_id: Its thread's ID, instead.
            run_id: Its own.
            **options: See `FollowOptions`.

        Raises:
            RunFailedError: The run failed. Also `RunCancelledError`, `RunExpiredError`, `RunIncompleteError`.
            RunActionRequiredError: The run waits for tool outputs and there is no toolbox.
            RunDeadlineError: The deadline has passed; ``run`` is as it was last seen.
            RunStuckError: See `follow`, as for the other errors.
        """
        async with aclosing(self.follow(run, thread_id=thread_id, run_id=run_id, **options)) as events:
            async for event in events:
                run = event.run
                if isinstance(event, ActionRequired) and options.get("toolbox") is None:
                    break
        assert run is not None  # noqa: S101  # for the type checker: an iterator tells the end, or raises
        return outcome(run)

    def stream(self, thread_id: str, *, include: Sequence[str] = (), **params: Unpack[RunStreamParams]) -> "RunStream":
        """Start a run, once, and stream what happens: ``async with`` it, then ``async for`` over its events.

        If the stream breaks off, the run is polled from there, and `PollingTookOver` says so; the next tool outputs
        are answered with a stream again. Nothing is told twice, and no text is left out.

        Args:
            thread_id: Where to run. A thread has at most one active run.
            include: See `create`.
            **params: See `RunCreateParams`, of which ``assistant_id`` is required, and `FollowOptions`. With a
                ``toolbox`` the stream goes on through tool calls; without one it ends when the run wants tool outputs.
                The ``deadline`` counts from the ``async with``.

        Returns:
            A `RunStream`. Opening it and iterating over it raise what `create` and `follow` raise; and `ResponseError`,
            without a status, for an error that the stream tells of.

        Source: Assistants v2 API, operation ``createRun``.
        """
        from openai_runs.following.streaming import RunStream

        check_params(params, RunStreamParams)
        params_of_run, options = split_options(params)
        url, body, find = self._creation(thread_id, include, params_of_run)
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
        """Answer the pending tool calls of a run, and stream what happens then. See `stream`.

        Args:
            run: The run, as for `retrieve`.
            tool_outputs: See `submit_tool_outputs`.
            thread_id: The run's thread, instead of ``run``.
            run_id: The run's ID.
            **options: See `FollowOptions`.

        Source: Assistants v2 API, operation ``submitToolOuputsToRun``.
        """
        from openai_runs.following.streaming import RunStream

        check_params(options, FollowOptions)
        requests, outputs = self._requests(run, thread_id, run_id), _given(tool_outputs)
        check_params({"tool_outputs": outputs}, ToolOutputsSubmitParams)  # now, and not when it is opened
        start = partial(requests.stream_outputs, outputs)
        return RunStream(Follower(requests, run, **options), start, answered=call_ids(outputs))

    def _requests(self, run: Run | None, thread_id: str | None, run_id: str | None) -> RunRequests:
        return RunRequests.of(self._transport, run, thread_id, run_id)


def _given(tool_outputs: ToolOutputs | None) -> ToolOutputs:
    if tool_outputs is None:
        raise TypeError("missing parameter 'tool_outputs'; nothing was sent")
    return tool_outputs
