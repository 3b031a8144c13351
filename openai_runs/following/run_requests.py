"""The requests about one run, shared by the service, the follower and the stream."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from attrs import define, field
from yarl import URL

from openai_runs._http.byte_stream import ByteStream
from openai_runs._http.creation import Creation
from openai_runs._http.overrides import Overrides, with_header
from openai_runs._http.pages import ItemT, Listing
from openai_runs._http.sender import OnResponse
from openai_runs._http.transport import Transport
from openai_runs._wire.parameters import check_params
from openai_runs._wire.paths import MESSAGES, PREFER, RUN, RUNS, STEPS, ids_of
from openai_runs.errors import BadRequestError, TransportError
from openai_runs.following.rounds import Submissions, required
from openai_runs.models.message import Message
from openai_runs.models.page import ListParams, MessageListParams, Page
from openai_runs.models.run import Run, RunStatus, ToolOutputsSubmitParams
from openai_runs.models.tool import ToolOutput, ToolOutputParam
from openai_runs.pacing.pace import Turn

if TYPE_CHECKING:  # loaded only by who uses it
    from openai_runs.models.run_step import RunStep
    from openai_runs.telemetry import Telemetry

ToolOutputs: TypeAlias = Sequence[ToolOutput | ToolOutputParam]
#: Looks up whether a request whose response was lost took effect: the run if it did.
FindRun: TypeAlias = Callable[[], Awaitable[Run | None]]
#: The result of a request for a stream: the stream; or only the run, because the response was lost and the run was
#: found, or because the endpoint does not stream.
Opened: TypeAlias = ByteStream | Run

_IN_ORDER: Final[ListParams] = {"order": "asc", "limit": 100}


@define
class RunRequests:
    """The requests about one run, by its URL; a run that is being started has no URL yet."""

    _transport: Transport
    name: str  #: for messages
    _url: URL | None = None
    _find: FindRun | None = field(default=None, init=False)  # finds a run whose URL is not known
    _creation: Creation[Run] | None = field(default=None, init=False)
    _started_by: Creation[Run] | None = field(default=None, init=False)  # the same, whatever finds the run
    #: The submissions that are counted for somebody, by the URL of the run.
    _shared: MutableMapping[URL, Submissions] | None = field(default=None, alias="shared", kw_only=True)
    _submissions: Submissions | None = field(default=None, init=False)
    _overrides: Overrides | None = field(default=None, alias="overrides", kw_only=True)

    @classmethod
    def of(
        cls,
        transport: Transport,
        run: Run | None,
        thread_id: str | None,
        run_id: str | None,
        shared: MutableMapping[URL, Submissions],
        overrides: Overrides | None = None,
    ) -> Self:
        """Requests about a run that the caller gives as an object or by its IDs.

        Args:
            transport: Sends the requests.
            run: The run; or its IDs:
            thread_id: The thread's ID.
            run_id: The run's ID.
            shared: The submissions that are counted for somebody, by the URL of the run.
            overrides: See `Transport.request`; for all of the requests.
        """
        ids = ids_of(Run, run, thread_id=thread_id, run_id=run_id)
        return cls(transport, f"run {ids['run_id']}", transport.url(RUN, **ids), shared=shared, overrides=overrides)

    def found_by(self, creation: Creation[Run]) -> Self:
        """These requests, for a run that is being started: after a lost response, its creation finds it."""
        self._creation = self._started_by = creation
        self._find = creation.find
        return self

    @property
    def submissions(self) -> Submissions:
        """Counts the outputs that were accepted; the same for all requests about a run whose URL was given."""
        if self._submissions is None:  # only now: who polls a run once has no use for it
            if self._shared is None or self._url is None:
                self._submissions = Submissions()
            else:
                self._submissions = self._shared.get(self._url) or self._shared.setdefault(self._url, Submissions())
        return self._submissions

    @property
    def url(self) -> URL:
        """The run's URL.

        Raises:
            TransportError: The run's ID is not known, since the response to its start was lost.
        """
        if self._url is None:
            raise TransportError(f"{self.name} may have been started, but its ID is not known")
        return self._url

    @property
    def has_address(self) -> bool:
        """Whether the run's URL is known."""
        return self._url is not None

    @property
    def can_be_found(self) -> bool:
        """Whether the run's URL is known, or can be looked up."""
        if self._url is not None or self._creation is None:
            return self._url is not None or self._find is not None
        return self._creation.can_find

    def note(self, run: Run) -> None:
        """Note a snapshot: the run's URL, and its tokens if it has ended."""
        if self._url is None:
            self._url, self.name = self._transport.url(RUN, thread_id=run.thread_id, run_id=run.id), f"run {run.id}"
            if self._started_by is not None:
                self._started_by.note_created(run)
        self._settle(run)

    def _settle(self, run: Run) -> None:
        """Settle the tokens of a run that has ended."""
        if self._transport.turns.limits_tokens:
            self._transport.turns.see_run(run)

    def find_on_thread(self, thread_id: str) -> None:
        """Look the run up on its thread: that was created together with the run, so it has no other run."""

        async def newest() -> Run | None:
            url = self._transport.url(RUNS, {"limit": 1}, thread_id=thread_id)
            page = await self._transport.send("GET", url, Page[Run], overrides=self._overrides)
            return page.data[0] if page.data else None

        self._creation, self._find = None, newest

    @property
    def before_closing(self) -> set[Callable[[], Awaitable[None]]]:
        """What is to be done before the session is closed."""
        return self._transport.before_closing

    @property
    def telemetry(self) -> "Telemetry | None":
        """Records what is done with the run, if the session has one that records anything."""
        telemetry = self._transport.telemetry
        return telemetry if telemetry is not None and telemetry.records else None

    @property
    def base_url(self) -> str:
        """Where the requests go."""
        return self._transport.base_url

    def redact(self, error: Exception) -> None:
        """See `Transport.redact`."""
        self._transport.redact(error, self._overrides)

    async def retrieve(self, on_response: OnResponse | None = None, *, prefer: str | None = None) -> Run:
        """See `RunsService.retrieve`.

        Args:
            on_response: Called with a 2xx response.
            prefer: The header of that name.
        """
        if self._url is None and self._find is not None:
            found = await self._transport.repeat(self._find, self._overrides)
            if found is not None:
                self.note(found)
                return found
        overrides = self._overrides if prefer is None else with_header(self._overrides, PREFER, prefer)
        run = await self._transport.request("GET", self.url, Run, on_response=on_response, overrides=overrides)
        self._settle(run)
        return run

    @property
    def timeout(self) -> float:
        """Seconds without a byte after which a request fails."""
        overrides = self._overrides
        return self._transport.timeout if overrides is None or overrides.timeout is None else overrides.timeout

    @property
    def take_turns(self) -> bool:
        """Whether requests have to wait for their turns, which is no delay of the endpoint's."""
        return self._transport.turns.is_active

    def turn_of_poll(self, *, is_idle: bool) -> Coroutine[Any, Any, object] | None:
        """What waits until the session may poll once more; ``None`` if it may. ``is_idle``: see `Turn.IDLE_POLL`."""
        turns = self._transport.turns
        if is_idle or turns.limits_polls:
            return turns.take(Turn.IDLE_POLL if is_idle else Turn.POLL)
        return None

    async def look(self) -> Run | None:
        """Fetch the run without retries; ``None`` if it cannot be found."""
        if self._url is not None:
            return await self._transport.send("GET", self._url, Run, overrides=self._overrides)
        return None if self._find is None else await self._find()

    async def cancel(self) -> Run:
        """See `RunsService.cancel`."""
        if self._url is None:
            await self.retrieve()
        url = self._transport.below(self.url, "cancel")
        return await self._transport.request(
            "POST", url, Run, repeatable=False, find=self._find_cancelled, overrides=self._overrides
        )

    async def cancel_unless_ended(self) -> Run:
        """Cancel the run; no error if it has ended meanwhile, or is already being cancelled."""
        try:
            return await self.cancel()
        except BadRequestError:
            if (run := await self._find_cancelled()) is None:
                raise
            return run

    async def _find_cancelled(self) -> Run | None:
        """The run if it is ``cancelling`` or has ended, else ``None``."""
        run = await self._transport.send("GET", self.url, Run, overrides=self._overrides)
        return run if run.status is RunStatus.CANCELLING or run.status.is_terminal else None

    async def submit(
        self, outputs: ToolOutputs, *, asked: Run | None = None, on_response: OnResponse | None = None
    ) -> Run:
        """See `RunsService.submit_tool_outputs`.

        Args:
            outputs: The outputs.
            asked: The snapshot with the calls that they answer, if there is one.
            on_response: Called with a 2xx response.
        """
        url, body, find = self._submit_request(outputs, asked, on_response)
        run = await self._transport.request(
            "POST",
            url,
            Run,
            body=body,
            repeatable=False,
            find=find,
            on_response=on_response,
            overrides=self._overrides,
        )
        self.submissions.accept(outputs)
        return run

    async def stream_outputs(self, outputs: ToolOutputs, *, asked: Run | None = None) -> Opened:
        """See `RunsService.stream_tool_outputs`, and `submit` for ``asked``."""
        url, body, find = self._submit_request(outputs, asked, None)
        opened = await self._transport.stream(
            url, Run, body={**body, "stream": True}, find=find, overrides=self._overrides
        )
        self.submissions.accept(outputs)
        return opened

    async def messages_and_steps(self, run: Run) -> "tuple[list[Message], list[RunStep]]":
        """Fetch what the run has written so far, oldest first."""
        from openai_runs.models.run_step import RunStep  # three dozen classes

        ids = {"thread_id": run.thread_id, "run_id": run.id}
        steps = [step async for step in self._all(Page[RunStep], STEPS, ids, _IN_ORDER)]
        message_ids = {step.message_id for step in steps}
        # Endpoints that ignore `run_id` send all messages of the thread, and some leave out a message's `run_id`.
        query: MessageListParams = {**_IN_ORDER, "run_id": run.id}
        thread = {"thread_id": run.thread_id}
        messages = self._all(Page[Message], MESSAGES, thread, query)
        return [message async for message in messages if message.run_id == run.id or message.id in message_ids], steps

    def _all(
        self, page: type[Page[ItemT]], path: str, ids: Mapping[str, str], query: Mapping[str, Any]
    ) -> Listing[ItemT]:
        return Listing(self._transport, page, path, ids, query, overrides=self._overrides)

    def _submit_request(
        self, outputs: ToolOutputs, asked: Run | None, on_response: OnResponse | None
    ) -> tuple[URL, dict[str, Any], FindRun]:
        """The URL and body that submit outputs, and a function that finds out whether they arrived."""
        params = {"tool_outputs": outputs}
        check_params(params, ToolOutputsSubmitParams)
        answered = call_ids(outputs)
        wanted = None if asked is None else required(asked)

        async def find() -> Run | None:
            run = await self._transport.send("GET", self.url, Run, on_response=on_response, overrides=self._overrides)
            still_pending = {call.id for call in run.pending_tool_calls} & answered
            # An endpoint that counts its IDs from call_0 in each round asks something else under the same IDs.
            is_next_round = wanted is not None and required(run) != wanted
            return run if is_next_round or not still_pending else None

        return self._transport.below(self.url, "submit_tool_outputs"), params, find


def call_ids(outputs: ToolOutputs) -> frozenset[str]:
    """The IDs of the tool calls that these outputs answer."""
    return frozenset(o.tool_call_id if isinstance(o, ToolOutput) else o["tool_call_id"] for o in outputs)


def given(outputs: ToolOutputs | None) -> ToolOutputs:
    """The outputs that a caller has passed.

    Raises:
        TypeError: There are none.
    """
    if outputs is None:
        raise TypeError("missing parameter 'tool_outputs'; nothing was sent")
    return outputs


def with_calls(run: Run | None) -> Run | None:
    """The run, if the snapshot has the calls that it waits for; callers may have an older one."""
    return run if run is not None and run.status is RunStatus.REQUIRES_ACTION else None
