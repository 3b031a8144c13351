"""What all backends with a live model behind them have in common: repeating what fails, and saying how it failed.

Until an answer has said something, a call that fails is made again. After that it is not: what has been said cannot be
taken back, and half an answer is not passed off as a whole one.
"""

import logging
from abc import abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from types import TracebackType
from typing import Any, ClassVar, Final, Self, TypeAlias, TypedDict, Unpack

import anyio
from attrs import define

from openai_runs._http.retries import is_transient, server_delay
from openai_runs._http.transport import ApiKey
from openai_runs.backends.capabilities import Kind, unsupported
from openai_runs.backends.conversation import Item, given, shortened, within
from openai_runs.backends.endpoint import Endpoint
from openai_runs.backends.model_backend import BackendEvent, ModelBackend, ModelRequest, Unsupported
from openai_runs.backends.stream_reading import StreamError, is_out_of_credit, is_too_long
from openai_runs.errors import BackendError, ProtocolError, ResponseError, TransportError, snippet

_logger = logging.getLogger("openai_runs.backends.model_backend")

Failure: TypeAlias = StreamError | TransportError | ResponseError | ProtocolError
FAILURES: Final = (StreamError, TransportError, ResponseError, ProtocolError)


class LiveOptions(TypedDict, total=False):
    """How to speak to the endpoint of a live model; all of it optional."""

    #: From assistants' names of models to the endpoint's. ``"*"`` stands for all that are not named; without it they
    #: keep their names.
    models: Mapping[str, str]
    headers: Mapping[str, str]  #: sent with each request
    query: Mapping[str, str]  #: sent with each request
    #: Added to the body of each request; wins over what a run asks for. ``None`` takes a parameter out.
    body: Mapping[str, Any]
    timeout: float  #: seconds between two pieces of an answer, the first one included; 120 if unset
    #: How often a call is made again that failed before it said anything; 4 if unset. Not counted are calls that the
    #: endpoint puts off (429): it is waited for, for as long as the run has time.
    max_retries: int
    max_connections: int  #: how many calls are made at once, while others wait; 100 if unset


class LiveBackend(ModelBackend):
    """A live model behind an HTTP endpoint; made as one of its subclasses."""

    kind: ClassVar[Kind]

    def __init__(self, base_url: str, api_key: ApiKey | None = None, **options: Unpack[LiveOptions]) -> None:
        """Say where the model is; nothing is opened yet.

        Args:
            base_url: What comes before the path of the API, such as ``https://api.openai.com/v1``.
            api_key: The bearer token, or an async callable that returns a fresh one. ``None``: none is sent.
            **options: See `LiveOptions`.

        Raises:
            ValueError: ``base_url`` is no URL, or a header cannot be sent.
        """
        self._endpoint = Endpoint(
            base_url,
            api_key,
            headers=options.get("headers", {}),
            query=options.get("query", {}),
            timeout=options.get("timeout", 120.0),
            max_connections=options.get("max_connections", 100),
        )
        self._open = AsyncExitStack()
        self._models = options.get("models", {})
        self._body = options.get("body", {})
        self._max_retries = options.get("max_retries", 4)

    async def __aenter__(self) -> Self:
        await self._open.enter_async_context(self._endpoint.opened())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Close all connections."""
        await self._open.aclose()

    def refuse(self, request: ModelRequest) -> Unsupported | None:
        """Say what of a run this kind of endpoint cannot do."""
        return unsupported(request, self.kind, type(self).__name__)

    async def respond(self, request: ModelRequest) -> AsyncGenerator[BackendEvent]:
        """Call the model once.

        Raises:
            BackendError: There is no (complete) answer.
        """
        try:
            first, events = await self._begun(request)
            async with aclosing(events):
                yield first
                async for event in events:
                    yield event
        except FAILURES as error:
            told = backend_error(error)
            _logger.warning("run %s: the model call failed: %s: %s", request.run_id, told.code, told.message)
            raise told from error

    async def _begun(self, request: ModelRequest) -> tuple[BackendEvent, AsyncGenerator[BackendEvent]]:
        """Ask until something is said."""
        import stamina

        attempts = _Attempts(request, self._max_retries)
        async for attempt in stamina.retry_context(
            on=attempts, attempts=None, timeout=None, wait_initial=0.5, wait_max=8.0, wait_jitter=0.5
        ):
            with attempt:
                events = self._answer(request, attempts.items)
                return await anext(events), events
        raise AssertionError("unreachable: the last attempt returns or raises")  # pragma: no cover

    @abstractmethod
    def _answer(self, request: ModelRequest, items: Sequence[Item]) -> AsyncGenerator[BackendEvent]:
        """Ask once."""

    def _with_extra(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Add what the operator wants sent."""
        return given(**{**body, **self._body})

    def _model(self, name: str) -> str:
        return self._models.get(name) or self._models.get("*") or name


@define(init=False)
class _Attempts:
    """Decides whether a call that has said nothing is made again, and of what: the hook of the retry machinery."""

    items: Sequence[Item]  #: what the model is going to see
    _run_id: str
    _may_shorten: bool
    _retries_left: int
    _deadline: float

    def __init__(self, request: ModelRequest, max_retries: int) -> None:
        self.items = within(request.items, request.max_prompt_tokens) if request.may_shorten else request.items
        self._run_id = request.run_id
        self._may_shorten = request.may_shorten
        self._retries_left = max_retries
        self._deadline = anyio.current_time() + request.seconds_left

    def __call__(self, error: Exception) -> bool | float:
        """Whether to go on after ``error``; a number is how long to wait, in seconds."""
        wait = self._wait(error)
        if wait is not False:
            when = "soon" if wait is True else f"in {wait:.0f} s"
            _logger.info("run %s: the model is asked again %s: %s", self._run_id, when, error)
        return wait

    def _wait(self, error: Exception) -> bool | float:
        if not isinstance(error, FAILURES):
            return False
        if says_too_long(error):
            shorter = shortened(self.items) if self._may_shorten else None
            if shorter is None:
                return False
            self.items = shorter
            return 0.0
        delay = server_delay(error) if isinstance(error, ResponseError) else None
        if delay is not None and delay > self._deadline - anyio.current_time():
            return False
        if not _is_put_off(error):
            if self._retries_left <= 0 or not _is_transient(error):
                return False
            self._retries_left -= 1
        return delay or True


def says_too_long(error: Failure) -> bool:
    """Whether the conversation is too long for the model."""
    if isinstance(error, ResponseError):
        return error.status in (400, 413, 422) and is_too_long(error.message or error.body, error.code, error.type)
    return isinstance(error, StreamError) and error.too_long


def _is_put_off(error: Failure) -> bool:
    """Whether the endpoint would answer later."""
    if isinstance(error, ResponseError):
        final = error.headers.get("x-should-retry") == "false" or is_out_of_credit(error.code, error.type)
        return error.status == 429 and not final
    return isinstance(error, StreamError) and error.code == "rate_limit_exceeded" and error.repeatable


def _is_transient(error: Failure) -> bool:
    if isinstance(error, StreamError):
        return error.repeatable
    # 429 that is not put off is final; `is_transient` knows nothing of money.
    return is_transient(error) and not (isinstance(error, ResponseError) and error.status == 429)


def backend_error(error: Failure) -> BackendError:
    """Say how a call failed, for the reader of the run's ``last_error``."""
    if isinstance(error, StreamError):
        return BackendError(error.code, error.message)
    if not isinstance(error, ResponseError):
        return BackendError("server_error", f"the model's endpoint did not answer: {error}")
    said = error.message or snippet(error.body) or "no reason given"
    what = f"the model's endpoint answered {error.status}: {said}"
    match error.status:
        case 401 | 403:
            return BackendError("server_error", f"{what} (its key is what the server was started with)")
        case 404 if "model" not in said.lower():
            return BackendError("server_error", f"{what} (its base URL may be wrong; it often ends in /v1)")
        case 429:
            return BackendError("rate_limit_exceeded", what)
        case int(status) if 400 <= status < 500:
            return BackendError("invalid_prompt", what)
        case _:
            return BackendError("server_error", what)
