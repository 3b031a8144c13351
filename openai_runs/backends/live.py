"""`LiveBackend`: what all backends of live models share, which is retries and error messages.

A failed model call is retried until its first word or call. After that it is not: events cannot be taken back, and half
a response must not pass for a whole one.
"""

import logging
import re
from abc import abstractmethod
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypedDict, Unpack

import anyio
from attrs import define, field
from yarl import URL

from openai_runs._evolving import evolve
from openai_runs._http.addresses import provider_of
from openai_runs._http.outward import outward, without_addresses
from openai_runs._http.retries import is_final, is_transient, server_delay
from openai_runs._http.transport import ApiKey
from openai_runs.backends.adaptations import FAILURES, IGNORED_CHOICE, Adaptation, Failure, Prompt, adapted, whole
from openai_runs.backends.capabilities import Kind, unsupported
from openai_runs.backends.conversation import demanded_function, within_tokens, without_none, without_older_half
from openai_runs.backends.endpoint import Endpoint, Reader
from openai_runs.backends.model_backend import (
    BackendEvent,
    Detached,
    ModelBackend,
    ModelRequest,
    ToolCallChunk,
    Unsupported,
)
from openai_runs.backends.stream_reading import CutError, StreamError, is_too_long
from openai_runs.errors import BackendError, ProtocolError, ResponseError, TransportError

if TYPE_CHECKING:  # loaded only by who uses it
    from openai_runs.telemetry import Telemetry

_logger = logging.getLogger("openai_runs.backends")

_LONGEST_CACHE_KEY: Final = 64  # characters
_FIRST_WAIT: Final = 0.5  # seconds before the first retry; each further wait is twice as long
_LONGEST_WAIT: Final = 8.0


class LiveOptions(TypedDict, total=False):
    """Options for the endpoint of a live model; all are optional."""

    #: Maps the assistants' model names to the endpoint's. ``"*"`` stands for all other names, which are sent unchanged
    #: without it.
    models: Mapping[str, str]
    headers: Mapping[str, str]  #: sent with each request
    query: Mapping[str, str]  #: sent with each request
    #: Merged into the body of each request: objects by their keys, arrays are appended to the run's, such as its tools,
    #: and all else wins over the run's parameters. ``None`` removes a parameter.
    body: Mapping[str, Any]
    #: Seconds between two chunks of a response; 120 if unset. The first word may take as long as the run has time.
    timeout: float
    #: How often a model call is retried that failed before its first event; 4 if unset. Rate limits (429) do not count:
    #: they are waited for as long as the run has time.
    max_retries: int
    #: How many calls may be under way at once, while others wait; as many as the engine has active runs if unset.
    max_connections: int | None


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
            max_connections=options.get("max_connections"),
        )
        self._open = AsyncExitStack()
        host = URL(base_url).host or ""
        self.provider: str = provider_of(host)
        self._is_openai = f".{host}".endswith((".api.openai.com", ".openai.azure.com"))
        self._models = options.get("models", {})
        self._body = options.get("body", {})
        self._max_retries = options.get("max_retries", 4)
        self._lasting: dict[str, frozenset[Adaptation]] = {}  # by the assistants' name of the model

    def observe(self, telemetry: "Telemetry") -> None:
        """Record the requests to the endpoint."""
        self._endpoint.observe(telemetry)

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
        import stamina

        from openai_runs._http.attempts import Attempts

        policy = _RetryPolicy(self._first_prompt(request), self._max_retries)
        attempts = stamina.retry_context(
            on=policy, attempts=None, timeout=None, wait_initial=_FIRST_WAIT, wait_max=_LONGEST_WAIT, wait_jitter=0.5
        )
        try:
            # Nothing is yielded inside `with attempt`, which would take an exception of our caller for the model's.
            async for attempt in Attempts(attempts):
                failure: Failure | None = None
                has_begun = False
                async with aclosing(self._call_model(policy.prompt)) as events:
                    try:
                        async for event in events:
                            if not has_begun:
                                _check_choice(event, request)
                            has_begun = has_begun or not isinstance(event, Detached)
                            yield event
                    except FAILURES as error:
                        if has_begun:
                            raise
                        failure = error
                with attempt:
                    if failure is None:
                        return
                    raise failure
        except FAILURES as error:
            reason = backend_error(error, request, self._endpoint.base_url)
            # Here with the endpoint's address, which the owner of the run is not told.
            _logger.warning(
                "run %s: the model call failed: %s: %s%s", request.run_id, reason.code, error, _advice(error)
            )
            raise reason from error
        finally:
            self._lasting[request.model] = self._lasting.get(request.model, frozenset()) | policy.lasting

    def _first_prompt(self, request: ModelRequest) -> Prompt:
        items = within_tokens(request.items, request.max_prompt_tokens) if request.may_shorten else request.items
        prompt = Prompt(request, items)
        if len(items) < len(request.items):
            prompt = whole(prompt)
        for adaptation in self._lasting.get(request.model, ()):
            prompt = adaptation.change(prompt, "")
        return prompt

    @abstractmethod
    def _call_model(self, prompt: Prompt) -> AsyncGenerator[BackendEvent]:
        """Send one request, without retries."""

    def _source(self, model: str) -> str:
        """Who gets back what came with tool calls: this endpoint, with this model."""
        return f"{self.kind} {self._endpoint.base_url} {self._model_name(model)}"

    def _stream(self, reader: Reader, request: ModelRequest, path: str, **more: Any) -> AsyncGenerator[BackendEvent]:
        """Send a request of this call; see `Endpoint.stream_events`."""
        return self._endpoint.stream_events(reader, path, patience=request.seconds_left, **more)

    def _with_extra_fields(self, body: Mapping[str, Any], request: ModelRequest) -> Mapping[str, Any]:
        """Add the fields of the option ``body``, and a key by which OpenAI finds the cached beginning of a thread."""
        if self._is_openai:  # other servers may refuse what they do not know
            body = {**body, "prompt_cache_key": request.thread_id[:_LONGEST_CACHE_KEY]}
        return _merged(body, self._body)

    def _model_name(self, name: str) -> str:
        return self._models.get(name) or self._models.get("*") or name


def _check_choice(event: BackendEvent, request: ModelRequest) -> None:
    """Refuse an answer that begins with the call of another function than the one that must be called."""
    name = demanded_function(request)
    if isinstance(event, ToolCallChunk) and name is not None and event.name not in (None, name):
        raise StreamError(f"{IGNORED_CHOICE}: it called {event.name}", "invalid_prompt", retryable=False)


def _merged(body: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Merge fields into a JSON object; see `LiveOptions`."""
    merged = dict(body)
    for name, value in extra.items():
        match merged.get(name), value:
            case dict() as fields, dict():
                merged[name] = _merged(fields, value)
            case list() as items, list():
                merged[name] = [*items, *(item for item in value if item not in items)]
            case _:
                merged[name] = value
    return without_none(**merged)


@define
class _RetryPolicy:
    """Decides whether a call that failed before its first word is repeated, and with which prompt; stamina's ``on``."""

    prompt: Prompt  #: what the next attempt sends
    _retries_left: int
    lasting: frozenset[Adaptation] = field(default=frozenset(), init=False)  #: what was changed because of the model
    _deadline: float = field(init=False)
    _attempts: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._deadline = anyio.current_time() + self.prompt.request.seconds_left

    def __call__(self, error: Exception) -> bool | float:
        """Whether to retry after ``error``; a number is the delay in seconds."""
        delay = self._delay(error)
        if delay is not False:
            run_id, when = self.prompt.request.run_id, "soon" if delay is True else f"in {delay:.0f} s"
            _logger.info("run %s: the model call is retried %s: %s", run_id, when, error)
        return delay

    def _delay(self, error: Exception) -> bool | float:
        if not isinstance(error, FAILURES):
            return False
        if isinstance(error, StreamError) and not isinstance(error, CutError):
            # The response itself has failed: there is nothing to resume.
            self.prompt = evolve(self.prompt, request=evolve(self.prompt.request, handle=None))
        if is_prompt_too_long(error):
            shorter = without_older_half(self.prompt.items) if self.prompt.request.may_shorten else None
            if shorter is None:
                return False
            self.prompt = whole(evolve(self.prompt, items=shorter))
            return 0.0
        if (change := adapted(self.prompt, error)) is not None:
            changed, adaptation = change
            self.prompt = whole(changed)
            self.lasting |= {adaptation} if adaptation.is_lasting else set()
            _logger.warning(
                "run %s: the prompt is changed for the endpoint: %s", self.prompt.request.run_id, adaptation.name
            )
            return 0.0
        if not _is_rate_limited(error):
            if self._retries_left <= 0 or not _is_transient(error):
                return False
            self._retries_left -= 1
        self._attempts += 1
        wait = min(_FIRST_WAIT * 2.0 ** min(self._attempts - 1, 10), _LONGEST_WAIT)
        delay = server_delay(error) if isinstance(error, ResponseError) else None
        # A call that can only begin after the run's deadline would hide why there is no answer.
        return False if (delay or wait) >= self._deadline - anyio.current_time() else delay or True


def is_prompt_too_long(error: Failure) -> bool:
    """Whether the endpoint refused the conversation as too long for the model."""
    if isinstance(error, ResponseError):
        return error.status in (400, 413, 422) and is_too_long(error.message or error.body, error.code, error.type)
    return isinstance(error, StreamError) and error.too_long


def _is_rate_limited(error: Failure) -> bool:
    """Whether the endpoint will respond later; not if the credit is used up, which is a 429 too."""
    if isinstance(error, ResponseError):
        return error.status == 429 and not is_final(error)
    return isinstance(error, StreamError) and error.code == "rate_limit_exceeded" and error.retryable


def _is_transient(error: Failure) -> bool:
    if isinstance(error, StreamError):
        return error.retryable
    if isinstance(error, TransportError) and error.maybe_done and isinstance(error.__cause__, TimeoutError):
        return False  # the model may still be at work, and a second call would be billed too
    if isinstance(error, ProtocolError):
        return False  # the call was answered, so another one would be billed too
    return is_transient(error)


#: What a 404 may be about, rather than about a wrong base URL.
_NAMED: Final = re.compile(r"model|deployment|vector.?store|response|container|file|item", re.IGNORECASE)


def backend_error(error: Failure, request: ModelRequest, base_url: str) -> BackendError:
    """Make the error for the run's ``last_error``, which does not say where the endpoint is."""
    if isinstance(error, StreamError):
        return BackendError(error.code, _with_stores(without_addresses(error.message, base_url), request))
    if not isinstance(error, ResponseError):
        return BackendError("server_error", f"the request to the model's endpoint failed: {outward(error, base_url)}")
    what = _with_stores(f"the model's endpoint responded with {outward(error, base_url)}", request)
    if advice := _advice(error):
        return BackendError("server_error", what + advice)
    match error.status:
        case 429:
            return BackendError("rate_limit_exceeded", what)
        case int(status) if 400 <= status < 500:
            return BackendError("invalid_prompt", what)
        case _:
            return BackendError("server_error", what)


def _advice(error: Failure) -> str:
    """What whoever has started the server may have to correct."""
    if not isinstance(error, ResponseError):
        return ""
    if error.status in (401, 403):
        return " (check the key of the model's endpoint, with which the server was started)"
    reason = error.message or error.body
    if error.status == 404 and ("url" in reason.lower() or not _NAMED.search(f"{error.code} {reason}")):
        return " (check the base URL of the model's endpoint; it often ends in /v1)"
    return ""


def _with_stores(message: str, request: ModelRequest) -> str:
    """Name the vector stores that the run searches in an error about one of them that does not."""
    search = request.tool_resources.file_search if request.tool_resources else None
    if search is None or not re.search("vector.?store", message, re.IGNORECASE):
        return message
    if any(id in message for id in search.vector_store_ids):
        return message
    return f"{message} (the run searches {', '.join(search.vector_store_ids)})"
