"""`ResponsesBackend`: OpenAI's Responses API, and other servers that have it."""

import logging
import math
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from typing import ClassVar, Final, Unpack

import anyio
from yarl import URL

from openai_runs._http.retries import is_transient, server_delay
from openai_runs._http.transport import ApiKey
from openai_runs.backends.adaptations import FAILURES, Prompt
from openai_runs.backends.capabilities import Kind
from openai_runs.backends.live import LiveBackend, LiveOptions
from openai_runs.backends.model_backend import BackendEvent, Finished, ModelRequest
from openai_runs.backends.responses_body import responses_body
from openai_runs.backends.responses_stream import ResponsesStream
from openai_runs.backends.stream_reading import CutError
from openai_runs.errors import NotFoundError, ResponseError, TransportError
from openai_runs.models.completion_window import WINDOW_SECONDS
from openai_runs.models.tool import JsonObjectFormat, JsonSchemaFormat

_logger = logging.getLogger("openai_runs.backends")

_MIN_OUTPUT_TOKENS: Final = 16  # the API refuses a lower limit
_OPENAI: Final = ".api.openai.com"  # also with a region before it


class ResponsesBackend(LiveBackend):
    """A model behind ``POST /responses``, whose endpoint may also search files and run code.

    The endpoint stores nothing, unless ``background`` is true: then a call goes on if the connection is lost or this
    process dies, and is resumed.

    A run with a ``completion_window`` is executed in the background in any case, and without a connection: its calls
    are looked at now and then. Those after tool outputs continue the response before them.
    """

    kind: ClassVar[Kind] = "responses"
    has_files: bool = True

    def __init__(
        self,
        base_url: str,
        api_key: ApiKey | None = None,
        *,
        background: bool = False,
        poll_every: float = 2.0,
        completion_windows: bool | None = None,
        window_share: float = 1 / 60,
        **options: Unpack[LiveOptions],
    ) -> None:
        """Configure the backend; the engine opens it.

        Args:
            base_url: What comes before ``/responses``.
            api_key: The bearer token, or an async callable that returns a fresh one. ``None``: none is sent.
            background: Whether calls go on at the endpoint without a connection. It then stores responses for a while.
            poll_every: Seconds between two polls of a call whose stream cannot be resumed.
            completion_windows: Whether the endpoint serves runs with a ``completion_window``; if not, they are refused.
                Unset: whether it is OpenAI's own.
            window_share: The time between two polls of a call with a completion window, as a share of that window: by
                default two minutes of two hours, and eight of eight. For projects without data retention, OpenAI keeps
                a response for about ten minutes.
            **options: See `LiveOptions`.

        Raises:
            ValueError: ``base_url`` is not a URL, or a header is invalid.
        """
        super().__init__(base_url, api_key, **options)
        self._background = background
        self._poll_every = poll_every
        self._window_share = window_share
        if completion_windows is None:
            completion_windows = f".{URL(base_url).host or ''}".endswith(_OPENAI)
        self.completion_windows: Collection[str] = tuple(WINDOW_SECONDS) if completion_windows else ()

    async def abandon(self, handle: str) -> None:
        """Stop a call that goes on at the endpoint."""
        try:
            await self._endpoint.request("POST", "/responses/{response_id}/cancel", response_id=handle)
        except FAILURES as error:
            # Harmless: the response has ended by itself, or will, and nothing reads it.
            _logger.info("the response %s could not be cancelled: %s", handle, error)

    def _call_model(self, prompt: Prompt) -> AsyncGenerator[BackendEvent]:
        request = prompt.request
        limit = request.max_completion_tokens
        if limit is not None and limit < _MIN_OUTPUT_TOKENS:
            return _out_of_tokens()
        reader = ResponsesStream(
            limit,
            marks_citations=not isinstance(request.response_format, JsonObjectFormat | JsonSchemaFormat),
            detaches=self._in_background(request),
            source=self._source(request.model),
        )
        if request.handle is not None:
            return self._resume(prompt, reader, request.handle)
        if self._in_background(request):
            return self._start_in_background(prompt, reader)
        return self._start(prompt, reader)

    def _in_background(self, request: ModelRequest) -> bool:
        return self._background or request.completion_window is not None

    def _start(self, prompt: Prompt, reader: ResponsesStream) -> AsyncGenerator[BackendEvent]:
        request = prompt.request
        body = responses_body(
            request,
            prompt.items,
            self._model_name(request.model),
            background=self._in_background(request),
            source=self._source(request.model),
            asks_for_thoughts=prompt.asks_for_thoughts,
        )
        sent = self._with_extra_fields(body, request)
        if request.completion_window is None:
            return self._stream(reader, request, "/responses", body=sent)
        # The answer only says that the call has been taken: it comes at once, or never.
        return self._endpoint.stream_events(reader, "/responses", body=sent, patience=self._endpoint.timeout)

    async def _start_in_background(self, prompt: Prompt, reader: ResponsesStream) -> AsyncGenerator[BackendEvent]:
        try:
            async with aclosing(self._start(prompt, reader)) as events:
                async for event in events:
                    yield event
            return
        except (CutError, TransportError) as error:
            if reader.response_id is None:  # cannot be resumed without an ID; `LiveBackend` retries
                raise
            if prompt.request.completion_window is None:
                _logger.info("response %s: the stream was lost, and is resumed: %s", reader.response_id, error)
        async with aclosing(self._rest(prompt.request, reader, reader.response_id)) as events:
            async for event in events:
                yield event

    async def _resume(self, prompt: Prompt, reader: ResponsesStream, handle: str) -> AsyncGenerator[BackendEvent]:
        """Yield all events of a call that went on while this process was down."""
        try:
            async with aclosing(self._rest(prompt.request, reader, handle)) as events:
                async for event in events:
                    yield event
            return
        except NotFoundError:
            if reader.response_id is not None:
                raise
            _logger.info("response %s: the endpoint does not have it any more; the call is repeated", handle)
        call = self._start_in_background if self._in_background(prompt.request) else self._start
        async with aclosing(call(prompt, reader)) as events:
            async for event in events:
                yield event

    async def _rest(
        self, request: ModelRequest, reader: ResponsesStream, response_id: str
    ) -> AsyncGenerator[BackendEvent]:
        """Yield the events that have not come yet: by streaming while streams bring new ones, then by polling.

        A call with a completion window is only polled: a stream would be silent for hours.
        """
        window = request.completion_window
        if window is not None:
            pause = max(self._poll_every, WINDOW_SECONDS[window] * self._window_share)
            if reader.response_id is not None:  # the call has been taken just now
                await anyio.sleep(pause)
            # What it costs is lost if it is given up, and the run's deadline ends it in any case.
            async with aclosing(self._poll(reader, response_id, pause, max_failures=math.inf)) as events:
                async for event in events:
                    yield event
            return
        is_new, before = reader.response_id is None, -1
        # Without sequence numbers, a stream could only start from the beginning.
        while is_new or (reader.last_sequence_number is not None and reader.last_sequence_number > before):
            is_new, before = False, -1 if reader.last_sequence_number is None else reader.last_sequence_number
            reader.resume()
            after = {} if reader.last_sequence_number is None else {"starting_after": reader.last_sequence_number}
            try:
                async with aclosing(
                    self._stream(
                        reader,
                        request,
                        "/responses/{response_id}",
                        query={"stream": "true", **after},
                        response_id=response_id,
                    )
                ) as events:
                    async for event in events:
                        yield event
                return
            except NotFoundError:
                raise
            except (CutError, TransportError, ResponseError) as error:
                # Not every endpoint can stream a response again; polling always works.
                _logger.info("response %s: the stream ended early: %s", response_id, error)
                if isinstance(error, ResponseError):
                    break
        polls = self._poll(reader, response_id, self._poll_every, max_failures=self._max_retries)
        async with aclosing(polls) as events:
            async for event in events:
                yield event

    async def _poll(
        self, reader: ResponsesStream, response_id: str, every: float, *, max_failures: float
    ) -> AsyncGenerator[BackendEvent]:
        failures = 0
        while not reader.is_done:
            pause = every
            try:
                response = await self._endpoint.request("GET", "/responses/{response_id}", response_id=response_id)
            except (TransportError, ResponseError) as error:
                failures += 1
                if failures > max_failures or not is_transient(error):
                    raise
                pause = max(pause, server_delay(error) or 0.0)
            else:
                failures = 0
                for event in reader.feed_response(response):
                    yield event
            if not reader.is_done:
                await anyio.sleep(pause)


async def _out_of_tokens() -> AsyncGenerator[BackendEvent]:
    yield Finished("max_tokens")
