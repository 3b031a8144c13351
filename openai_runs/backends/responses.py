"""`ResponsesBackend`: OpenAI's Responses API, and servers that speak it."""

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import ClassVar, Final, Unpack

import anyio

from openai_runs._http.retries import is_transient, server_delay
from openai_runs._http.transport import ApiKey
from openai_runs.backends.capabilities import Kind
from openai_runs.backends.conversation import Item
from openai_runs.backends.live import FAILURES, LiveBackend, LiveOptions
from openai_runs.backends.model_backend import BackendEvent, Finished, ModelRequest
from openai_runs.backends.responses_body import responses_body
from openai_runs.backends.responses_stream import ResponsesStream
from openai_runs.backends.stream_reading import CutError
from openai_runs.errors import NotFoundError, ResponseError, TransportError
from openai_runs.models.tool import JsonObjectFormat, JsonSchemaFormat

_logger = logging.getLogger("openai_runs.backends.model_backend")

_LEAST_OUTPUT_TOKENS: Final = 16  # that the API can be asked for


class ResponsesBackend(LiveBackend):
    """A model behind ``POST /responses``, whose endpoint may also search files and run code.

    Nothing is kept there, unless it works in the background: then a call goes on when the connection is lost or this
    process dies, and is taken up again.
    """

    kind: ClassVar[Kind] = "responses"

    def __init__(
        self,
        base_url: str,
        api_key: ApiKey | None = None,
        *,
        background: bool = False,
        poll_every: float = 2.0,
        **options: Unpack[LiveOptions],
    ) -> None:
        """Say where the model is; nothing is opened yet.

        Args:
            base_url: What comes before ``/responses``.
            api_key: The bearer token, or an async callable that returns a fresh one. ``None``: none is sent.
            background: Whether calls go on without us. Answers are kept at the endpoint then, for a while.
            poll_every: Seconds between two looks at a call whose stream is lost for good.
            **options: See `LiveOptions`.

        Raises:
            ValueError: ``base_url`` is no URL, or a header cannot be sent.
        """
        super().__init__(base_url, api_key, **options)
        self._background = background
        self._poll_every = poll_every

    async def abandon(self, handle: str) -> None:
        """Stop a call that goes on at the endpoint."""
        try:
            await self._endpoint.ask("POST", "/responses/{response_id}/cancel", response_id=handle)
        except FAILURES as error:
            # It may have ended by itself; if not, it will, and nobody is going to look at it.
            _logger.info("the response %s could not be cancelled: %s", handle, error)

    def _answer(self, request: ModelRequest, items: Sequence[Item]) -> AsyncGenerator[BackendEvent]:
        limit = request.max_completion_tokens
        if limit is not None and limit < _LEAST_OUTPUT_TOKENS:
            return _nothing_left()
        reader = ResponsesStream(
            limit,
            marks_citations=not isinstance(request.response_format, JsonObjectFormat | JsonSchemaFormat),
            detaches=self._background,
        )
        if request.handle is not None:
            return self._taken_up(request, items, reader, request.handle)
        if self._background:
            return self._in_background(request, items, reader)
        return self._called(request, items, reader)

    def _called(
        self, request: ModelRequest, items: Sequence[Item], reader: ResponsesStream
    ) -> AsyncGenerator[BackendEvent]:
        body = responses_body(request, items, self._model(request.model), background=self._background)
        return self._endpoint.listen(reader, "/responses", body=self._with_extra(body))

    async def _in_background(
        self, request: ModelRequest, items: Sequence[Item], reader: ResponsesStream
    ) -> AsyncGenerator[BackendEvent]:
        try:
            async with aclosing(self._called(request, items, reader)) as events:
                async for event in events:
                    yield event
            return
        except (CutError, TransportError) as error:
            if reader.response_id is None:  # nothing is known of it, so it is made again
                raise
            _logger.info("response %s: the stream was lost, and is taken up again: %s", reader.response_id, error)
        async with aclosing(self._rest_of(reader, reader.response_id)) as events:
            async for event in events:
                yield event

    async def _taken_up(
        self, request: ModelRequest, items: Sequence[Item], reader: ResponsesStream, handle: str
    ) -> AsyncGenerator[BackendEvent]:
        """Tell all of a call that went on while nobody listened."""
        try:
            async with aclosing(self._rest_of(reader, handle)) as events:
                async for event in events:
                    yield event
            return
        except NotFoundError:
            if reader.response_id is not None:
                raise
            _logger.info("response %s: the endpoint does not have it any more; the call is made again", handle)
        call = self._in_background if self._background else self._called
        async with aclosing(call(request, items, reader)) as events:
            async for event in events:
                yield event

    async def _rest_of(self, reader: ResponsesStream, response_id: str) -> AsyncGenerator[BackendEvent]:
        """Tell what has not been told: by streams for as long as they bring something, then by looking."""
        is_new, before = reader.response_id is None, -1
        # Without numbers, a stream could only begin at the beginning.
        while is_new or (reader.last is not None and reader.last > before):
            is_new, before = False, -1 if reader.last is None else reader.last
            reader.resume()
            after = {} if reader.last is None else {"starting_after": reader.last}
            try:
                async with aclosing(
                    self._endpoint.listen(
                        reader, "/responses/{response_id}", query={"stream": "true", **after}, response_id=response_id
                    )
                ) as events:
                    async for event in events:
                        yield event
                return
            except NotFoundError:
                raise
            except (CutError, TransportError, ResponseError) as error:
                # Not every endpoint streams a second time; looking is always possible.
                _logger.info("response %s: the stream ended early: %s", response_id, error)
                if isinstance(error, ResponseError):
                    break
        async with aclosing(self._looked_at(reader, response_id)) as events:
            async for event in events:
                yield event

    async def _looked_at(self, reader: ResponsesStream, response_id: str) -> AsyncGenerator[BackendEvent]:
        failures = 0
        while not reader.is_done:
            pause = self._poll_every
            try:
                answer = await self._endpoint.ask("GET", "/responses/{response_id}", response_id=response_id)
            except (TransportError, ResponseError) as error:
                failures += 1
                if failures > self._max_retries or not is_transient(error):
                    raise
                pause = max(pause, server_delay(error) or 0.0)
            else:
                failures = 0
                for event in reader.take(answer):
                    yield event
            if not reader.is_done:
                await anyio.sleep(pause)


async def _nothing_left() -> AsyncGenerator[BackendEvent]:
    yield Finished("max_tokens")
