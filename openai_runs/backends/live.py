"""`LiveBackend`: what all backends of live models share, which is retries and error messages.

A failed model call is retried until its first event. After that it is not: events cannot be taken back, and half a
response must not pass for a whole one.
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
from openai_runs.backends.conversation import Item, within_tokens, without_none, without_older_half
from openai_runs.backends.endpoint import Endpoint
from openai_runs.backends.model_backend import BackendEvent, ModelBackend, ModelRequest, Unsupported
from openai_runs.backends.stream_reading import StreamError, is_out_of_credit, is_too_long
from openai_runs.errors import BackendError, ProtocolError, ResponseError, TransportError, snippet

_logger = logging.getLogger("openai_runs.backends.model_backend")

Failure: TypeAlias = StreamError | TransportError | ResponseError | ProtocolError
FAILURES: Final = (StreamError, TransportError, ResponseError, ProtocolError)


class LiveOptions(TypedDict, total=False):
    """Options for the endpoint of a live model; all are optional."""

    #: Maps the assistants' model names to the endpoint's. ``"*"`` stands for all other names, which are sent unchanged
    #: without it.
    models: Mapping[str, str]
    headers: Mapping[str, str]  #: sent with each request
    query: Mapping[str, str]  #: sent with each request
    #: Added to the body of each request, and wins over the run's parameters. ``None`` removes a parameter.
    body: Mapping[str, Any]
    timeout: float  #: seconds until the first chunk of a response, and between two chunks; 120 if unset
    #: How often a model call is retried that failed before its first event; 4 if unset. Rate limits (429) do not count:
    #: they are waited for as long as the run has time.
    max_retries: int
    max_connections: int  #: how many calls may be under way at once, while others wait; 100 if unset


class LiveBackend(ModelBackend):
    """A live model behind an HTTP endpoint; the base class of one backend per API."""

    kind: ClassVar[Kind]

    def __init__(self, base_url: str, api_key: ApiKey | None = None, **options: Unpack[LiveOptions]) -> None:
        """Configure the backend; the engine opens it.

        Args:
            base_url: What comes before the path of the API, such as ``https://api.openai.com/v1``.
            api_key: The bearer token, or an async callable that returns a fresh one. ``None``: none is sent.
            **options: See `LiveOptions`.

        Raises:
            ValueError: ``base_url`` is not a URL, or a header is invalid.
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
        """Name what this kind of endpoint does not support of a run."""
        return unsupported(request, self.kind, type(self).__name__)

    async def respond(self, request: ModelRequest) -> AsyncGenerator[BackendEvent]:
        """Call the model once.

        Raises:
            BackendError: There is no complete response.
        """
        try:
            first, events = await self._first_event(request)
            async with aclosing(events):
                yield first
                async for event in events:
                    yield event
        except FAILURES as error:
            failure = backend_error(error)
            _logger.warning("run %s: the model call failed: %s: %s", request.run_id, failure.code, failure.message)
            raise failure from error

    async def _first_event(self, request: ModelRequest) -> tuple[BackendEvent, AsyncGenerator[BackendEvent]]:
        """Call the model, with retries, until its first event; returns that, and the generator of the rest."""
        import stamina

        policy = _RetryPolicy(request, self._max_retries)
        async for attempt in stamina.retry_context(
            on=policy, attempts=None, timeout=None, wait_initial=0.5, wait_max=8.0, wait_jitter=0.5
        ):
            with attempt:
                events = self._call_model(request, policy.items)
                return await anext(events), events
        raise AssertionError("unreachable: the last attempt returns or raises")  # pragma: no cover

    @abstractmethod
    def _call_model(self, request: ModelRequest, items: Sequence[Item]) -> AsyncGenerator[BackendEvent]:
        """Send one request, without retries."""

    def _with_extra_fields(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Add the fields of the option ``body``."""
        return without_none(**{**body, **self._body})

    def _model_name(self, name: str) -> str:
        return self._models.get(name) or self._models.get("*") or name


@define(init=False)
class _RetryPolicy:
    """Decides whether a call without events is retried, and with which items; stamina's ``on`` hook."""

    items: Sequence[Item]  #: what the next attempt sends
    _run_id: str
    _may_shorten: bool
    _retries_left: int
    _deadline: float

    def __init__(self, request: ModelRequest, max_retries: int) -> None:
        self.items = within_tokens(request.items, request.max_prompt_tokens) if request.may_shorten else request.items
        self._run_id = request.run_id
        self._may_shorten = request.may_shorten
        self._retries_left = max_retries
        self._deadline = anyio.current_time() + request.seconds_left

    def __call__(self, error: Exception) -> bool | float:
        """Whether to retry after ``error``; a number is the delay in seconds."""
        delay = self._delay(error)
        if delay is not False:
            when = "soon" if delay is True else f"in {delay:.0f} s"
            _logger.info("run %s: the model call is retried %s: %s", self._run_id, when, error)
        return delay

    def _delay(self, error: Exception) -> bool | float:
        if not isinstance(error, FAILURES):
            return False
        if is_prompt_too_long(error):
            shorter = without_older_half(self.items) if self._may_shorten else None
            if shorter is None:
                return False
            self.items = shorter
            return 0.0
        delay = server_delay(error) if isinstance(error, ResponseError) else None
        if delay is not None and delay > self._deadline - anyio.current_time():
            return False
        if not _is_rate_limited(error):
            if self._retries_left <= 0 or not _is_transient(error):
                return False
            self._retries_left -= 1
        return delay or True


def is_prompt_too_long(error: Failure) -> bool:
    """Whether the endpoint refused the conversation as too long for the model."""
    if isinstance(error, ResponseError):
        return error.status in (400, 413, 422) and is_too_long(error.message or error.body, error.code, error.type)
    return isinstance(error, StreamError) and error.too_long


def _is_rate_limited(error: Failure) -> bool:
    """Whether the endpoint will respond later; not if the credit is used up, which is a 429 too."""
    if isinstance(error, ResponseError):
        final = error.headers.get("x-should-retry") == "false" or is_out_of_credit(error.code, error.type)
        return error.status == 429 and not final
    return isinstance(error, StreamError) and error.code == "rate_limit_exceeded" and error.retryable


def _is_transient(error: Failure) -> bool:
    if isinstance(error, StreamError):
        return error.retryable
    # A 429 that reaches this line is final, such as for used-up credit, which `is_transient` does not know.
    return is_transient(error) and not (isinstance(error, ResponseError) and error.status == 429)


def backend_error(error: Failure) -> BackendError:
    """Make the error for the run's ``last_error``."""
    if isinstance(error, StreamError):
        return BackendError(error.code, error.message)
    if not isinstance(error, ResponseError):
        return BackendError("server_error", f"the request to the model's endpoint failed: {error}")
    reason = error.message or snippet(error.body) or "no reason given"
    what = f"the model's endpoint responded with status {error.status}: {reason}"
    match error.status:
        case 401 | 403:
            return BackendError(
                "server_error", f"{what} (check the key of the model's endpoint, with which the server was started)"
            )
        case 404 if "model" not in reason.lower():
            return BackendError(
                "server_error", f"{what} (check the base URL of the model's endpoint; it often ends in /v1)"
            )
        case 429:
            return BackendError("rate_limit_exceeded", what)
        case int(status) if 400 <= status < 500:
            return BackendError("invalid_prompt", what)
        case _:
            return BackendError("server_error", what)
