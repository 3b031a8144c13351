"""Requests with retries, for one endpoint. `sender` sends them, and `retries` decides what is repeated.

Services say what to send, and which model to make of the response; nothing else here depends on the API's objects.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from multidict import CIMultiDict
from yarl import URL

from openai_runs import _wire
from openai_runs._http.addresses import Addresses
from openai_runs._http.background import Background
from openai_runs._http.byte_stream import ByteStream
from openai_runs._http.key_support import KeySupport
from openai_runs._http.overrides import Overrides, checked_header
from openai_runs._http.redaction import Secrets
from openai_runs._http.response import Reader
from openai_runs._http.retries import FAILURES, Failure, OwnError, Retry
from openai_runs._http.sender import OnResponse, Sender
from openai_runs._http.tokens import Tokens, checked_key
from openai_runs._http.upload import Upload
from openai_runs._wire.paths import ASSISTANTS
from openai_runs.models.assistant import Assistant
from openai_runs.models.page import Page
from openai_runs.pacing.rate_limits import RateLimits
from openai_runs.pacing.turns import Turns

if TYPE_CHECKING:  # loaded only by who uses it
    import asyncio

    from openai_runs.telemetry import Telemetry

T = TypeVar("T")
ApiKey: TypeAlias = str | Callable[[], Awaitable[str]]


class Transport:
    """One endpoint, and the connections to it."""

    def __init__(
        self,
        base_url: str,
        api_key: ApiKey | None,
        *,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        timeout: float,
        max_retries: int,
        max_connections: int,
        strict: bool = True,
        rate_limits: RateLimits | None = None,
        telemetry: "Telemetry | None" = None,
    ) -> None:
        self._addresses = Addresses(base_url, query)
        self.url: Final = self._addresses.url  #: the URL of a path
        self.below: Final = self._addresses.below  #: the URL of an action on an object
        # The content type is sent with every request, as in the API's documentation: aiohttp would send
        # application/octet-stream with an empty body.
        sent = CIMultiDict({"Accept": "application/json", "Content-Type": "application/json"})
        new_token: Callable[[], Awaitable[str]] | None = None
        if isinstance(api_key, str):
            sent["Authorization"] = f"Bearer {checked_key('api_key', api_key)}"
        elif callable(api_key):
            new_token = api_key if "authorization" not in map(str.lower, headers) else None
        elif api_key is not None:
            raise TypeError(f"api_key must be a string or an async function: got {type(api_key).__name__}")
        for name, value in headers.items():  # these win, whatever the case of their names
            sent[name] = checked_header("default_headers", name, value)
        self._secrets = Secrets(sent, query)
        self._max_retries = max_retries
        self.max_connections: Final[int] = max_connections  #: how many requests may be in progress at once
        self.keys: Final = KeySupport(self._ask_for_keys)  #: whether the endpoint honours idempotency keys
        self.turns: Final = Turns(rate_limits or RateLimits())  #: who may send next, while the endpoint has limits
        self._sender = Sender(
            headers=sent,
            tokens=None if new_token is None else Tokens(new_token, self._secrets),
            reader=Reader(self._addresses.base, self._secrets, strict),
            timeout=timeout,
            keys=self.keys,
            turns=self.turns,
            telemetry=telemetry,
        )
        self._background = Background()

    def __repr__(self) -> str:
        return f"<Transport to {self.base_url}>"

    @property
    def base_url(self) -> str:
        """Where requests go, without a trailing slash."""
        return self._addresses.base

    @property
    def timeout(self) -> float:
        """Seconds without a byte after which a request fails."""
        return self._sender.timeout

    @property
    def strict(self) -> bool:
        """How responses are read; see `_wire.load`."""
        return self._sender.reader.strict

    @property
    def tells_changes(self) -> bool:
        """Whether the endpoint has said that it tells changes to who waits."""
        return self._sender.tells_changes

    @property
    def telemetry(self) -> "Telemetry | None":
        """Records requests; it may be set until the connections are opened."""
        return self._sender.telemetry

    @telemetry.setter
    def telemetry(self, telemetry: "Telemetry") -> None:
        self._sender.telemetry = telemetry

    @property
    def before_closing(self) -> set[Callable[[], Awaitable[None]]]:
        """What is to be done before the connections are closed."""
        return self._background.before_closing

    def in_background(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Do something for as long as the connections are open, at most; then it is cancelled."""
        return self._background.start(work)

    def redact(self, error: Exception, overrides: Overrides | None = None) -> None:
        """Hide secrets in an error about what the endpoint has sent; see `Secrets.redact`."""
        secrets = self._secrets
        if overrides is not None:
            secrets = secrets.of_request(overrides.headers, overrides.url(URL(self.base_url)).query)
        secrets.redact(error)

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None, None]:
        """Open the connections; requests that are in progress at the end fail."""
        # Read once: with trust_env, aiohttp would read the environment (and ~/.netrc) for every request.
        proxy = self._addresses.proxy()
        if proxy is not None:
            self._secrets.add({"proxy-authorization": URL(proxy).password or ""})
        self.turns.open()
        close = self._sender.connect(proxy, self.max_connections)
        try:
            try:
                yield
            finally:
                await self._background.prepare_closing()
        finally:
            self._sender.disconnect()
            self.turns.close()
            await self._background.end(close)

    async def request(
        self,
        method: str,
        url: URL,
        into: type[T],
        *,
        body: Any = None,
        upload: Upload | None = None,
        repeatable: bool = True,
        keys: KeySupport | None = None,
        find: Callable[[], Awaitable[T | None]] | None = None,
        on_response: OnResponse | None = None,
        overrides: Overrides | None = None,
    ) -> T:
        """Send a request, with retries, and make a model of the response.

        Args:
            method: The HTTP method.
            url: From `url`.
            into: The model to make.
            body: Sent as JSON; may contain models.
            upload: Sent in place of a body. If it can be sent only once, it is not repeated.
            repeatable: Whether the request is idempotent. If not, it is repeated only if it certainly took no effect.
            keys: Given if the request has an idempotency key: where it is honoured, the request may be repeated, too.
            find: Looks, with `send`, whether a request took effect: the model if it did. Called after a response was
                lost, before the request is repeated or given up.
            on_response: Called with a 2xx response, for its headers.
            overrides: What this request has in place of what all have.

        Raises:
            TransportError: No usable response, even after all retries.
            ResponseError: The status is not 2xx.
            ProtocolError: The response does not fit the model.
        """
        if overrides is not None:
            url, body = overrides.url(url), overrides.merged(body)
        data = upload if body is None else _wire.encode(body)
        try:
            return await self._sender.send(method, url, into, data, on_response, overrides)
        except (*FAILURES, OwnError) as error:  # the rare path: only here the retry machinery is set up
            failure = error
        again = partial(self._sender.send, method, url, into, data, on_response, overrides)
        retry = partial(
            Retry[T], again, find=find, repeatable=repeatable, keys=keys, overrides=overrides, upload=upload
        )
        return await self._again(retry, failure, changes_nothing=method == "GET")

    async def repeat(self, get: Callable[[], Awaitable[T]], overrides: Overrides | None) -> T:
        """Do something that changes nothing, with retries."""
        try:
            return await get()
        except FAILURES as error:
            failure = error
        retry = partial(Retry[T], get, find=None, repeatable=True, overrides=overrides)
        return await self._again(retry, failure, changes_nothing=True)

    async def send(
        self,
        method: str,
        url: URL,
        into: type[T],
        *,
        on_response: OnResponse | None = None,
        overrides: Overrides | None = None,
    ) -> T:
        """Send a request without a body once. See `request`."""
        if overrides is not None:
            url = overrides.url(url)
        try:
            return await self._sender.send(method, url, into, None, on_response, overrides)
        except OwnError as error:
            own = error.error
        raise own  # outside the `except` block: as the caller raised it

    async def _again(
        self,
        make_retry: Callable[..., Retry[T]],
        failure: Failure | OwnError,
        *,
        changes_nothing: bool,
    ) -> T:
        """Go on after a failure."""
        try:
            if isinstance(failure, OwnError):
                raise failure
            retry = make_retry(failure=failure, changes_nothing=changes_nothing)
            return await retry.run(self._max_retries)
        except OwnError as error:
            own = error.error
        raise own

    async def stream(
        self,
        url: URL,
        into: type[T],
        *,
        body: Any = None,
        method: str = "POST",
        keys: KeySupport | None = None,
        find: Callable[[], Awaitable[T | None]] | None = None,
        overrides: Overrides | None = None,
    ) -> ByteStream | T:
        """Send a request for a stream, with retries. See `request`.

        Returns:
            The stream; or the model, if the response was lost and ``find`` found the result, or if the endpoint does
            not stream.
        """
        if overrides is not None:
            url, body = overrides.url(url), overrides.merged(body)
        data = None if body is None else _wire.encode(body)
        try:
            return await self._sender.stream(method, url, into, data, overrides)
        except (*FAILURES, OwnError) as error:
            failure = error
        again = partial(self._sender.stream, method, url, into, data, overrides)
        retry = partial(Retry[ByteStream | T], again, find=find, repeatable=False, keys=keys, overrides=overrides)
        return await self._again(retry, failure, changes_nothing=method == "GET")

    async def open(
        self, url: URL, into: type[T], *, body: Any = None, overrides: Overrides | None = None
    ) -> ByteStream | T:
        """Send a request for a stream once. See `stream`."""
        if overrides is not None:
            url, body = overrides.url(url), overrides.merged(body)
        try:
            return await self._sender.stream("POST", url, into, None if body is None else _wire.encode(body), overrides)
        except OwnError as error:
            own = error.error
        raise own

    async def open_content(self, url: URL, into: type[T], *, overrides: Overrides | None = None) -> ByteStream:
        """Send a request once for content of whatever type. See `stream`; ``into`` is the model of what has it."""
        data = None
        if overrides is not None:
            url, data = overrides.url(url), _wire.encode(overrides.body) if overrides.body else None
        try:
            opened = await self._sender.stream("GET", url, into, data, overrides, accept="*/*")
        except OwnError as error:
            own = error.error
        else:
            assert isinstance(opened, ByteStream)  # noqa: S101  # for the type checker: any type is accepted
            return opened
        raise own

    async def _ask_for_keys(self, overrides: Overrides | None) -> None:
        # Any list would do: this one needs no ID.
        await self.send("GET", self.url(ASSISTANTS, {"limit": 1}), Page[Assistant], overrides=overrides)
