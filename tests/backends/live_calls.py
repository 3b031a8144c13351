"""Helpers that call a live backend on a stub of its endpoint."""

from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from openai_runs.backends.chat_completions import ChatCompletionsBackend
from openai_runs.backends.live import LiveBackend
from openai_runs.backends.model_backend import BackendEvent, ModelRequest
from openai_runs.backends.responses import ResponsesBackend
from openai_runs.errors import BackendError
from tests.backends.model_stub import ModelStub
from tests.backends.reading import Answer, together
from tests.backends.requests import a_request
from tests.backends.streams import Event, chat_answer, responses_answer

BACKENDS: dict[str, type[LiveBackend]] = {"chat": ChatCompletionsBackend, "responses": ResponsesBackend}


@asynccontextmanager
async def backend_at(stub: ModelStub, kind: str, **options: Any) -> Any:
    async with BACKENDS[kind](stub.url, "sk-of-the-tests", **{"timeout": 20.0, **options}) as backend:
        yield backend


def whole(kind: str, text: str = "Hello there", calls: Sequence[tuple[str, str]] = ()) -> list[Event]:
    return chat_answer(text, calls) if kind == "chat" else responses_answer(text, calls)


async def ask(backend: LiveBackend, request: ModelRequest | None = None) -> list[BackendEvent]:
    return [event async for event in backend.respond(request or a_request())]


async def answer(stub: ModelStub, kind: str, request: ModelRequest | None = None, **options: Any) -> Answer:
    async with stub, backend_at(stub, kind, **options) as backend:
        return together(await ask(backend, request))


async def failure(stub: ModelStub, kind: str, request: ModelRequest | None = None, **options: Any) -> BackendError:
    with pytest.raises(BackendError) as caught:
        await answer(stub, kind, request, **options)
    return caught.value
