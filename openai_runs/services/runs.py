"""Runs: start one, look after it, see it through."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, Unpack, overload
from uuid import uuid4

from yarl import URL

from openai_runs import _params
from openai_runs._transport import Transport
from openai_runs.events import ActionRequired, RunEvent
from openai_runs.lifecycle import Polling
from openai_runs.models.page import IncludeParams, ListParams, Page
from openai_runs.models.run import Run, RunCreateParams, RunUpdateParams, ToolOutputsSubmitParams
from openai_runs.services.following import Follower, OnExit, cancels, outcome
from openai_runs.services.listing import Listing
from openai_runs.services.one_run import ALL_RUNS, Look, OneRun, ToolOutputs, call_ids
from openai_runs.toolbox import Toolbox

if TYPE_CHECKING:  # imported where it is used: programs that do not stream need not pay for it
    from openai_runs.services.streaming import RunStream

#: The key in a run's metadata by which `RunsService.create` finds its run again after a lost answer.
MARKER: Final = "openai_runs.create"

Via = Literal["poll", "stream"]


class RunsService:
    """``session.runs``. Where a method takes a run, a `Run` will do, or its thread's ID and its own."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(self, thread_id: str, /, *, include: Sequence[str] = (), **params: Unpack[RunCreateParams]) -> Run:
        """Start a run of an assistant on a thread, once.

        If the answer is lost, the thread's runs are searched for this one before anything is repeated; for that it
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
            TransportError: No usable answer. If ``maybe_done``, the run may have been started all the same.

        Source: Assistants v2 API, operation ``createRun``.
        """
        url, body, started = self._creation(thread_id, include, params)
        return await self._transport.request("POST", url, Run, body=body, repeatable=False, look=started)

    def _creation(
        self, thread_id: str, include: Sequence[str], params: RunCreateParams
    ) -> tuple[URL, Mapping[str, Any], Look | None]:
        """Where and what to send to start a run, and how to find out whether that is done, if there is a way to."""
        _params.check(params, RunCreateParams)
        _params.check({"include": include}, IncludeParams)
        url = self._transport.url(ALL_RUNS, {"include[]": include}, thread_id=thread_id)
        metadata = params.get("metadata") or {}
        if MARKER not in metadata and len(metadata) >= 16:
            return url, params, None
        marker = metadata.get(MARKER) or uuid4().hex  # a caller's own marker makes its own repetitions safe as well

        async def started() -> Run | None:
            newest = self._transport.url(ALL_RUNS, thread_id=thread_id)
            page = await self._transport.once("GET", newest, Page[Run])
            return next((run for run in page.data if (run.metadata or {}).get(MARKER) == marker), None)

        return url, {**params, "metadata": {**metadata, MARKER: marker}}, started

    @overload
    async def retrieve(self, run: Run, /) -> Run: ...
    @overload
    async def retrieve(self, thread_id: str, run_id: str, /) -> Run: ...
    async def retrieve(self, run: Run | str, run_id: str | None = None, /) -> Run:
        """Fetch a run as it stands.

        Raises:
            NotFoundError: There is no such thread or run.

        Source: Assistants v2 API, operation ``getRun``.
        """
        return await OneRun.named(self._transport, run, run_id).retrieve()

    @overload
    async def update(self, run: Run, /, **params: Unpack[RunUpdateParams]) -> Run: ...
    @overload
    async def update(self, thread_id: str, run_id: str, /, **params: Unpack[RunUpdateParams]) -> Run: ...
    async def update(self, run: Run | str, run_id: str | None = None, /, **params: Unpack[RunUpdateParams]) -> Run:
        """Change the metadata, the one thing of a run that can be changed.

        Raises:
            NotFoundError: There is no such thread or run.

        Source: Assistants v2 API, operation ``modifyRun``.
        """
        _params.check(params, RunUpdateParams)
        return await self._transport.request("POST", OneRun.named(self._transport, run, run_id).url, Run, body=params)

    def list(self, thread_id: str, /, **query: Unpack[ListParams]) -> Listing[Run]:
        """All runs of a thread, newest first: ``async for``, or ``await ….page()``.

        Args:
            thread_id: The thread.
            **query: See `ListParams`.

        Source: Assistants v2 API, operation ``listRuns``.
        """
        return Listing(self._transport, Page[Run], ALL_RUNS, {"thread_id": thread_id}, query, ListParams)

    @overload
    async def cancel(self, run: Run, /) -> Run: ...
    @overload
    async def cancel(self, thread_id: str, run_id: str, /) -> Run: ...
    async def cancel(self, run: Run | str, run_id: str | None = None, /) -> Run:
        """Ask a run to stop. It is ``cancelling`` then, and ``cancelled`` a little later; it may still complete.

        Raises:
            NotFoundError: There is no such thread or run.
            BadRequestError: The run has ended, or is being cancelled already.

        Source: Assistants v2 API, operation ``cancelRun``.
        """
        return await OneRun.named(self._transport, run, run_id).cancel()

    @overload
    async def submit_tool_outputs(self, run: Run, tool_outputs: ToolOutputs, /) -> Run: ...
    @overload
    async def submit_tool_outputs(self, thread_id: str, run_id: str, tool_outputs: ToolOutputs, /) -> Run: ...
    async def submit_tool_outputs(self, run: Run | str, *rest: Any) -> Run:
        """Answer the pending tool calls of a run, all in one request.

        If the answer is lost, the run is looked at before anything is repeated.

        Raises:
            NotFoundError: There is no such thread or run.
            BadRequestError: The run does not wait for outputs, or some are missing.

        Source: Assistants v2 API, operation ``submitToolOuputsToRun``.
        """
        one, tool_outputs = self._one_and_outputs(run, rest)
        return await one.submit(tool_outputs)

    @overload
    def follow(
        self,
        run: Run,
        /,
        *,
        toolbox: Toolbox | None = None,
        deadline: float | None = None,
        polling: Polling = Polling(),
        on_exit: OnExit = "leave",
        via: Via = "poll",
    ) -> AsyncGenerator[RunEvent, None]: ...
    @overload
    def follow(
        self,
        thread_id: str,
        run_id: str,
        /,
        *,
        toolbox: Toolbox | None = None,
        deadline: float | None = None,
        polling: Polling = Polling(),
        on_exit: OnExit = "leave",
        via: Via = "poll",
    ) -> AsyncGenerator[RunEvent, None]: ...
    def follow(
        self,
        run: Run | str,
        run_id: str | None = None,
        /,
        *,
        toolbox: Toolbox | None = None,
        deadline: float | None = None,
        polling: Polling = Polling(),
        on_exit: OnExit = "leave",
        via: Via = "poll",
    ) -> AsyncGenerator[RunEvent, None]:
        """Follow a run to its end, by polling: each change of status once, `RunEnded` last.

        The iterator holds no connection between two polls. It may be left and taken up again, in another process
        too: an ID is enough. It bears an endpoint that is out of reach for a while, see `Polling.outage`.

        Args:
            run: The run, or its thread's ID.
            run_id: With a thread's ID, the run's.
            toolbox: Answers tool calls. Without one, `ActionRequired` is for the caller to answer, in the loop's body.
            deadline: Seconds for all of it, from the first event asked for.
            polling: How often to ask.
            on_exit: What becomes of an unfinished run when the iterator is left, by an error, a deadline or
                cancellation: ``"leave"`` it, or ``"cancel"`` it. With ``"cancel"``, wrap the iterator in
                `contextlib.aclosing`, so that a ``break`` takes effect at once.
            via: ``"stream"`` has the toolbox's outputs answered with a stream, so that what comes after them is known
                as it happens, and at fewer requests. The events are the same, and `PollingTookOver` tells when there
                is no stream: the API has none of a run that is under way. The iterator holds a connection then, so
                wrap it in `contextlib.aclosing` as well. `stream` has a stream from the start, and what is written.

        Yields:
            `StatusChanged`, `ActionRequired`, `ToolOutputsSubmitted`, `RunEnded`; `PollingTookOver`.

        Raises:
            RunDeadlineError: The deadline has passed.
            RunStuckError: The run stayed ``queued`` for longer than `Polling.queued_timeout`.
            ToolError: A tool of the toolbox failed, and the toolbox says that this ends the matter.
            NotFoundError: There is no such run (any more).
            TransportError: The endpoint stayed out of reach for longer than `Polling.outage`; or, given IDs only,
                it did not answer at all.
        """
        if via not in ("poll", "stream"):
            raise ValueError(f"via must be 'poll' or 'stream': got {via!r}")
        cancel_on_exit = cancels(on_exit)
        one = OneRun.named(self._transport, run, run_id)
        seen = run if isinstance(run, Run) else None
        if via == "poll" or toolbox is None:  # without a toolbox there is nothing that a stream could answer
            return Follower(one, toolbox, deadline, polling, seen).events(cancel_on_exit=cancel_on_exit)
        from openai_runs.services.streaming import RunStream, status_events

        follower = Follower(one, None, deadline, polling, seen)
        return status_events(RunStream(follower, None, toolbox, cancel_on_exit=cancel_on_exit))

    @overload
    async def complete(
        self,
        run: Run,
        /,
        *,
        toolbox: Toolbox | None = None,
        deadline: float | None = None,
        polling: Polling = Polling(),
        on_exit: OnExit = "leave",
        via: Via = "poll",
    ) -> Run: ...
    @overload
    async def complete(
        self,
        thread_id: str,
        run_id: str,
        /,
        *,
        toolbox: Toolbox | None = None,
        deadline: float | None = None,
        polling: Polling = Polling(),
        on_exit: OnExit = "leave",
        via: Via = "poll",
    ) -> Run: ...
    async def complete(self, run: Any, *rest: Any, **options: Any) -> Run:
        """Follow a run to its end and return it completed, or raise.

        Takes the same arguments as `follow`.

        Raises:
            RunFailedError: The run failed. Also `RunCancelledError`, `RunExpiredError`, `RunIncompleteError`.
            RunActionRequiredError: The run waits for tool outputs and there is no toolbox.
            RunDeadlineError: The deadline has passed; ``run`` is as it was last seen.
            RunStuckError: See `follow`, as for the other errors.
        """
        async with aclosing(self.follow(run, *rest, **options)) as events:
            async for event in events:
                run = event.run
                if isinstance(event, ActionRequired) and options.get("toolbox") is None:
                    break
        return outcome(run)

    def stream(
        self,
        thread_id: str,
        /,
        *,
        include: Sequence[str] = (),
        toolbox: Toolbox | None = None,
        deadline: float | None = None,
        polling: Polling = Polling(),
        on_exit: OnExit = "leave",
        **params: Unpack[RunCreateParams],
    ) -> "RunStream":
        """Start a run, once, and stream what happens: ``async with`` it, then ``async for`` over its events.

        If the stream breaks off, the run is polled from there, and `PollingTookOver` says so; the next tool outputs
        are answered with a stream again. Nothing is told twice, and no text is left out.

        Args:
            thread_id: Where to run. A thread has at most one active run.
            include: See `create`.
            toolbox: Answers tool calls, and the stream goes on. Without one it ends when the run wants tool outputs.
            deadline: Seconds for all of it, from the ``async with``.
            polling: How often to ask while there is no stream.
            on_exit: What becomes of an unfinished run when the ``async with`` is left.
            **params: See `RunCreateParams`; ``assistant_id`` is required.

        Returns:
            A `RunStream`. Opening it and iterating over it raise what `create` and `follow` raise; and `ResponseError`,
            without a status, for an error that the stream tells of.

        Source: Assistants v2 API, operation ``createRun``.
        """
        from openai_runs.services.streaming import RunStream

        url, body, started = self._creation(thread_id, include, params)
        start = partial(self._transport.stream, url, Run, body={**body, "stream": True}, look=started)
        one = OneRun(self._transport, f"the run on {thread_id}", look=started)
        follower = Follower(one, None, deadline, polling, None)
        return RunStream(follower, start, toolbox, cancel_on_exit=cancels(on_exit))

    @overload
    def stream_tool_outputs(
        self,
        run: Run,
        tool_outputs: ToolOutputs,
        /,
        *,
        toolbox: Toolbox | None = None,
        deadline: float | None = None,
        polling: Polling = Polling(),
        on_exit: OnExit = "leave",
    ) -> "RunStream": ...
    @overload
    def stream_tool_outputs(
        self,
        thread_id: str,
        run_id: str,
        tool_outputs: ToolOutputs,
        /,
        *,
        toolbox: Toolbox | None = None,
        deadline: float | None = None,
        polling: Polling = Polling(),
        on_exit: OnExit = "leave",
    ) -> "RunStream": ...
    def stream_tool_outputs(
        self,
        run: Run | str,
        *rest: Any,
        toolbox: Toolbox | None = None,
        deadline: float | None = None,
        polling: Polling = Polling(),
        on_exit: OnExit = "leave",
    ) -> "RunStream":
        """Answer the pending tool calls of a run, and stream what happens then. See `stream`.

        Source: Assistants v2 API, operation ``submitToolOuputsToRun``.
        """
        from openai_runs.services.streaming import RunStream

        one, tool_outputs = self._one_and_outputs(run, rest)
        _params.check({"tool_outputs": tool_outputs}, ToolOutputsSubmitParams)  # now, and not when it is opened
        follower = Follower(one, None, deadline, polling, run if isinstance(run, Run) else None)
        start, answered = partial(one.stream_outputs, tool_outputs), call_ids(tool_outputs)
        return RunStream(follower, start, toolbox, cancel_on_exit=cancels(on_exit), answered=answered)

    def _one_and_outputs(self, run: Run | str, rest: tuple[Any, ...]) -> tuple[OneRun, ToolOutputs]:
        if len(rest) != (1 if isinstance(run, Run) else 2):
            raise TypeError("give a Run, or a thread's ID and a run's; then the outputs")
        run_id, tool_outputs = (None, *rest) if isinstance(run, Run) else rest
        return OneRun.named(self._transport, run, run_id), tool_outputs
