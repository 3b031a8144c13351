"""The requests about one run, for all who look after it: the service, a follower, a stream."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Self, TypeAlias

from attrs import define, field
from yarl import URL

from openai_runs import _params
from openai_runs._transport import ByteStream, Listen, Transport
from openai_runs.errors import BadRequestError, TransportError
from openai_runs.models.message import Message
from openai_runs.models.page import Page
from openai_runs.models.run import Run, RunStatus, ToolOutputsSubmitParams
from openai_runs.models.run_step import MessageCreation, RunStep
from openai_runs.models.tool import ToolOutput, ToolOutputParam
from openai_runs.services.messages import MessagesService
from openai_runs.services.run_steps import RunStepsService

ALL_RUNS: Final = "/threads/{thread_id}/runs"
_ONE: Final = "/threads/{thread_id}/runs/{run_id}"

ToolOutputs: TypeAlias = Sequence[ToolOutput | ToolOutputParam]
Look: TypeAlias = Callable[[], Awaitable[Run | None]]
#: What a request for a stream brings: the stream; or the run alone, because the answer was lost and the run found, or
#: because the endpoint does not stream.
Opened: TypeAlias = ByteStream | Run


@define
class OneRun:
    """A run by its address; one that is being started has none yet."""

    _transport: Transport
    name: str  #: for messages
    _url: URL | None = None
    _look: Look | None = field(default=None, alias="look")  #: finds out whether a run that was to be started is there

    @classmethod
    def named(cls, transport: Transport, run: Run | str, run_id: str | None) -> Self:
        """A run as callers name it: by itself, or by two IDs."""
        if isinstance(run, Run) and run_id is None:
            thread_id, run_id = run.thread_id, run.id
        elif isinstance(run, Run) or run_id is None:
            raise TypeError("a run is named by a Run, or by two IDs: the thread's and its own")
        else:
            thread_id = run
        return cls(transport, f"run {run_id}", transport.url(_ONE, thread_id=thread_id, run_id=run_id))

    @property
    def url(self) -> URL:
        """The address."""
        if self._url is None:
            raise TransportError(f"{self.name} may have been started, and nothing is known of it")
        return self._url

    @property
    def can_be_found(self) -> bool:
        """Whether there is an address, or a way to find it."""
        return self._url is not None or self._look is not None

    def know(self, run: Run) -> None:
        """Take the address from a snapshot."""
        if self._url is None:
            self._url = self._transport.url(_ONE, thread_id=run.thread_id, run_id=run.id)

    def expect_on(self, thread_id: str) -> None:
        """Know the thread: one that was made together with the run, and so has no other."""

        async def newest() -> Run | None:
            url = self._transport.url(ALL_RUNS, {"limit": 1}, thread_id=thread_id)
            page = await self._transport.once("GET", url, Page[Run])
            return page.data[0] if page.data else None

        self._look = newest

    async def retrieve(self, listen: Listen | None = None) -> Run:
        """See `RunsService.retrieve`."""
        if self._url is None and self._look is not None and (found := await self._look()) is not None:
            self.know(found)
            return found
        return await self._transport.request("GET", self.url, Run, listen=listen)

    async def cancel(self) -> Run:
        """See `RunsService.cancel`."""
        if self._url is None:
            await self.retrieve()
        url = self._transport.below(self.url, "cancel")
        return await self._transport.request("POST", url, Run, repeatable=False, look=self._stopping)

    async def stop(self) -> Run:
        """Cancel the run, unless it has ended since it was last seen, or is being cancelled."""
        try:
            return await self.cancel()
        except BadRequestError:
            if (now := await self._stopping()) is None:
                raise
            return now

    async def _stopping(self) -> Run | None:
        now = await self._transport.once("GET", self.url, Run)
        return now if now.status is RunStatus.CANCELLING or now.status.is_terminal else None

    async def submit(self, outputs: ToolOutputs, listen: Listen | None = None) -> Run:
        """See `RunsService.submit_tool_outputs`."""
        url, body, taken = self._submission(outputs, listen)
        return await self._transport.request("POST", url, Run, body=body, repeatable=False, look=taken, listen=listen)

    async def stream_outputs(self, outputs: ToolOutputs) -> Opened:
        """See `RunsService.stream_tool_outputs`."""
        url, body, taken = self._submission(outputs, None)
        return await self._transport.stream(url, Run, body={**body, "stream": True}, look=taken)

    async def written(self, run: Run) -> tuple[list[Message], list[RunStep]]:
        """Fetch the messages and steps of the run."""
        of_run = RunStepsService(self._transport).list(run.thread_id, run.id, order="asc", limit=100)
        steps = [step async for step in of_run]
        ids = {message_id_of(step) for step in steps}
        # Endpoints that do not know the parameter send all the thread's messages; some do not tell a message's run.
        messages = MessagesService(self._transport).list(run.thread_id, run_id=run.id, order="asc", limit=100)
        return [message async for message in messages if message.run_id == run.id or message.id in ids], steps

    def _submission(self, outputs: ToolOutputs, listen: Listen | None) -> tuple[URL, dict[str, Any], Look]:
        """Where and what to send, and how to find out whether it was taken."""
        params = {"tool_outputs": outputs}
        _params.check(params, ToolOutputsSubmitParams)
        answered = call_ids(outputs)

        async def taken() -> Run | None:
            now = await self._transport.once("GET", self.url, Run, listen=listen)
            waiting = {call.id for call in now.pending_tool_calls} & answered
            return None if waiting else now

        return self._transport.below(self.url, "submit_tool_outputs"), params, taken


def call_ids(outputs: ToolOutputs) -> frozenset[str]:
    """The calls that these are for."""
    return frozenset(o.tool_call_id if isinstance(o, ToolOutput) else o["tool_call_id"] for o in outputs)


def message_id_of(step: RunStep) -> str | None:
    """The message that a step wrote, if it did."""
    details = step.step_details
    return details.message_creation.message_id if isinstance(details, MessageCreation) else None
