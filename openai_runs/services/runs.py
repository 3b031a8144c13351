"""Runs: start one, look after it, see it through."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Final, Literal, Unpack, overload
from uuid import uuid4

from yarl import URL

from openai_runs import _params
from openai_runs._transport import Listen, Transport
from openai_runs.errors import RunActionRequiredError, run_error
from openai_runs.events import ActionRequired, RunEvent
from openai_runs.lifecycle import Polling
from openai_runs.models.page import ListParams, Page
from openai_runs.models.run import Run, RunCreateParams, RunStatus, RunUpdateParams, ToolOutputsSubmitParams
from openai_runs.models.tool import ToolOutput, ToolOutputParam
from openai_runs.services.following import Follower
from openai_runs.services.listing import Listing
from openai_runs.toolbox import Toolbox

_ALL: Final = "/threads/{thread_id}/runs"
_ONE: Final = "/threads/{thread_id}/runs/{run_id}"

#: The key in a run's metadata by which `RunsService.create` finds its run again after a lost answer.
MARKER: Final = "openai_runs.create"

OnExit = Literal["leave", "cancel"]


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
        _params.check(params, RunCreateParams)
        url = self._transport.url(_ALL, {"include[]": include}, thread_id=thread_id)
        metadata = params.get("metadata") or {}
        if MARKER not in metadata and len(metadata) >= 16:
            return await self._transport.request("POST", url, Run, body=params, repeatable=False)
        marker = metadata.get(MARKER) or uuid4().hex  # a caller's own marker makes its own repetitions safe as well

        async def started() -> Run | None:
            newest = self._transport.url(_ALL, thread_id=thread_id)
            page = await self._transport.once("GET", newest, Page[Run])
            return next((run for run in page.data if (run.metadata or {}).get(MARKER) == marker), None)

        body = {**params, "metadata": {**metadata, MARKER: marker}}
        return await self._transport.request("POST", url, Run, body=body, repeatable=False, look=started)

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
        return await self._transport.request("GET", self._url(_ONE, run, run_id), Run)

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
        return await self._transport.request("POST", self._url(_ONE, run, run_id), Run, body=params)

    def list(self, thread_id: str, /, **query: Unpack[ListParams]) -> Listing[Run]:
        """All runs of a thread, newest first: ``async for``, or ``await ….page()``.

        Args:
            thread_id: The thread.
            **query: See `ListParams`.

        Source: Assistants v2 API, operation ``listRuns``.
        """
        return Listing(self._transport, Page[Run], _ALL, {"thread_id": thread_id}, query, ListParams)

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
        return await self._cancel(self._url(_ONE, run, run_id))

    async def _cancel(self, one: URL) -> Run:
        async def cancelled() -> Run | None:
            now = await self._transport.once("GET", one, Run)
            return now if now.status is RunStatus.CANCELLING or now.status.is_terminal else None

        url = self._transport.below(one, "cancel")
        return await self._transport.request("POST", url, Run, repeatable=False, look=cancelled)

    @overload
    async def submit_tool_outputs(self, run: Run, tool_outputs: Sequence[ToolOutput | ToolOutputParam], /) -> Run: ...
    @overload
    async def submit_tool_outputs(
        self, thread_id: str, run_id: str, tool_outputs: Sequence[ToolOutput | ToolOutputParam], /
    ) -> Run: ...
    async def submit_tool_outputs(self, run: Run | str, *rest: Any) -> Run:
        """Answer the pending tool calls of a run, all in one request.

        If the answer is lost, the run is looked at before anything is repeated.

        Raises:
            NotFoundError: There is no such thread or run.
            BadRequestError: The run does not wait for outputs, or some are missing.

        Source: Assistants v2 API, operation ``submitToolOuputsToRun``.
        """
        if len(rest) != (1 if isinstance(run, Run) else 2):
            raise TypeError("give a Run, or a thread's ID and a run's; then the outputs")
        run_id, tool_outputs = (None, *rest) if isinstance(run, Run) else rest
        return await self._submit(self._url(_ONE, run, run_id), tool_outputs)

    async def _submit(
        self, one: URL, tool_outputs: Sequence[ToolOutput | ToolOutputParam], listen: Listen | None = None
    ) -> Run:
        params = {"tool_outputs": tool_outputs}
        _params.check(params, ToolOutputsSubmitParams)
        answered = {o.tool_call_id if isinstance(o, ToolOutput) else o["tool_call_id"] for o in tool_outputs}

        async def taken() -> Run | None:
            now = await self._transport.once("GET", one, Run, listen=listen)
            waiting = {call.id for call in now.pending_tool_calls} & answered
            return None if waiting else now

        url = self._transport.below(one, "submit_tool_outputs")
        return await self._transport.request("POST", url, Run, body=params, repeatable=False, look=taken, listen=listen)

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

        Yields:
            `StatusChanged`, `ActionRequired`, `ToolOutputsSubmitted`, `RunEnded`.

        Raises:
            RunDeadlineError: The deadline has passed.
            RunStuckError: The run stayed ``queued`` for longer than `Polling.queued_timeout`.
            ToolError: A tool of the toolbox failed, and the toolbox says that this ends the matter.
            NotFoundError: There is no such run (any more).
            TransportError: The endpoint stayed out of reach for longer than `Polling.outage`.
        """
        if deadline is not None and not deadline >= 0:
            raise ValueError(f"deadline must be at least 0 seconds: got {deadline}")
        if on_exit not in ("leave", "cancel"):
            raise ValueError(f"on_exit must be 'leave' or 'cancel': got {on_exit!r}")
        one = self._url(_ONE, run, run_id)
        follower = Follower(
            f"run {run.id if isinstance(run, Run) else run_id}",
            retrieve=lambda listen: self._transport.request("GET", one, Run, listen=listen),
            submit=partial(self._submit, one),
            cancel=partial(self._cancel, one),
            toolbox=toolbox,
            deadline=deadline,
            polling=polling,
            run=run if isinstance(run, Run) else None,
        )
        return follower.events(cancel_on_exit=on_exit == "cancel")

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
                if isinstance(event, ActionRequired) and options.get("toolbox") is None:
                    names = ", ".join(call.function.name for call in event.tool_calls)
                    raise RunActionRequiredError(
                        f"run {event.run.id} wants outputs of {names or 'an unknown tool'}: "
                        "pass a toolbox, or use follow() and submit_tool_outputs()",
                        run=event.run,
                    )
        if event.run.status is RunStatus.COMPLETED:
            return event.run
        raise run_error(event.run)

    def _url(self, path: str, run: Run | str, run_id: str | None) -> URL:
        if isinstance(run, Run):
            return self._transport.url(path, thread_id=run.thread_id, run_id=run.id)
        if run_id is None:
            raise TypeError("a run is named by a Run, or by two IDs: the thread's and its own")
        return self._transport.url(path, thread_id=run, run_id=run_id)
