"""The requests about one run, for all who look after it: the service, a follower, a stream."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Self, TypeAlias

from attrs import define, field
from yarl import URL

from openai_runs._http.pages import Listing
from openai_runs._http.transport import ByteStream, OnResponse, Transport
from openai_runs._wire.parameters import check_params
from openai_runs._wire.paths import MESSAGES, RUN, RUNS, STEPS, ids_of
from openai_runs.errors import BadRequestError, TransportError
from openai_runs.models.message import Message
from openai_runs.models.page import ListParams, MessageListParams, Page
from openai_runs.models.run import Run, RunStatus, ToolOutputsSubmitParams
from openai_runs.models.run_step import RunStep
from openai_runs.models.tool import ToolOutput, ToolOutputParam

ToolOutputs: TypeAlias = Sequence[ToolOutput | ToolOutputParam]
#: Finds out what became of a request for a run whose response was lost: the run, if there is one.
FindRun: TypeAlias = Callable[[], Awaitable[Run | None]]
#: What a request for a stream brings: the stream; or the run alone, because the response was lost and the run found, or
#: because the endpoint does not stream.
Opened: TypeAlias = ByteStream | Run

_IN_ORDER: Final[ListParams] = {"order": "asc", "limit": 100}


@define
class RunRequests:
    """A run by its address; one that is being started has none yet."""

    _transport: Transport
    name: str  #: for messages
    _url: URL | None = None
    _find: FindRun | None = field(default=None, alias="find")  #: finds a run that was to be started

    @classmethod
    def of(cls, transport: Transport, run: Run | None, thread_id: str | None, run_id: str | None) -> Self:
        """A run as callers name it: by itself, or by its IDs."""
        ids = ids_of(Run, run, thread_id=thread_id, run_id=run_id)
        return cls(transport, f"run {ids['run_id']}", transport.url(RUN, **ids))

    @property
    def url(self) -> URL:
        """The address."""
        if self._url is None:
            raise TransportError(f"{self.name} may have been started, and nothing is known of it")
        return self._url

    @property
    def can_be_found(self) -> bool:
        """Whether there is an address, or a way to find it."""
        return self._url is not None or self._find is not None

    def know(self, run: Run) -> None:
        """Take the address from a snapshot."""
        if self._url is None:
            self._url = self._transport.url(RUN, thread_id=run.thread_id, run_id=run.id)

    def expect_on(self, thread_id: str) -> None:
        """Know the thread: one that was made together with the run, and so has no other."""

        async def newest() -> Run | None:
            url = self._transport.url(RUNS, {"limit": 1}, thread_id=thread_id)
            page = await self._transport.send("GET", url, Page[Run])
            return page.data[0] if page.data else None

        self._find = newest

    async def retrieve(self, on_response: OnResponse | None = None) -> Run:
        """See `RunsService.retrieve`."""
        if self._url is None and self._find is not None and (found := await self._find()) is not None:
            self.know(found)
            return found
        return await self._transport.request("GET", self.url, Run, on_response=on_response)

    async def cancel(self) -> Run:
        """See `RunsService.cancel`."""
        if self._url is None:
            await self.retrieve()
        url = self._transport.below(self.url, "cancel")
        return await self._transport.request("POST", url, Run, repeatable=False, find=self._find_stopping)

    async def stop(self) -> Run:
        """Cancel the run, unless it has ended since it was last seen, or is being cancelled."""
        try:
            return await self.cancel()
        except BadRequestError:
            if (now := await self._find_stopping()) is None:
                raise
            return now

    async def _find_stopping(self) -> Run | None:
        now = await self._transport.send("GET", self.url, Run)
        return now if now.status is RunStatus.CANCELLING or now.status.is_terminal else None

    async def submit(self, outputs: ToolOutputs, on_response: OnResponse | None = None) -> Run:
        """See `RunsService.submit_tool_outputs`."""
        url, body, find = self._submission(outputs, on_response)
        return await self._transport.request(
            "POST", url, Run, body=body, repeatable=False, find=find, on_response=on_response
        )

    async def stream_outputs(self, outputs: ToolOutputs) -> Opened:
        """See `RunsService.stream_tool_outputs`."""
        url, body, find = self._submission(outputs, None)
        return await self._transport.stream(url, Run, body={**body, "stream": True}, find=find)

    async def written(self, run: Run) -> tuple[list[Message], list[RunStep]]:
        """Fetch the messages and steps of the run."""
        ids = {"thread_id": run.thread_id, "run_id": run.id}
        steps = [step async for step in Listing(self._transport, Page[RunStep], STEPS, ids, _IN_ORDER, ListParams)]
        written = {step.message_id for step in steps}
        # Endpoints that do not know the parameter send all the thread's messages; some do not tell a message's run.
        query: MessageListParams = {**_IN_ORDER, "run_id": run.id}
        thread = {"thread_id": run.thread_id}
        messages = Listing(self._transport, Page[Message], MESSAGES, thread, query, MessageListParams)
        return [message async for message in messages if message.run_id == run.id or message.id in written], steps

    def _submission(self, outputs: ToolOutputs, on_response: OnResponse | None) -> tuple[URL, dict[str, Any], FindRun]:
        """Where and what to send, and how to find out whether it was taken."""
        params = {"tool_outputs": outputs}
        check_params(params, ToolOutputsSubmitParams)
        answered = call_ids(outputs)

        async def find() -> Run | None:
            now = await self._transport.send("GET", self.url, Run, on_response=on_response)
            waiting = {call.id for call in now.pending_tool_calls} & answered
            return None if waiting else now

        return self._transport.below(self.url, "submit_tool_outputs"), params, find


def call_ids(outputs: ToolOutputs) -> frozenset[str]:
    """The calls that these are for."""
    return frozenset(o.tool_call_id if isinstance(o, ToolOutput) else o["tool_call_id"] for o in outputs)
