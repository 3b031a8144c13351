"""A server in its own process, for tests that kill it: ``python -m tests.backends.serving KIND MODEL_URL STORE``."""

import sys

import anyio

from openai_runs.backends.chat_completions import ChatCompletionsBackend
from openai_runs.backends.local_model import LocalModelBackend
from openai_runs.backends.model_backend import ModelBackend
from openai_runs.backends.responses import ResponsesBackend
from openai_runs.server import LocalServer
from openai_runs.stores.sqlite import SQLiteStore


def backend(kind: str, url: str) -> ModelBackend:
    if kind == "local":
        return LocalModelBackend()
    if kind == "chat":
        return ChatCompletionsBackend(url)
    return ResponsesBackend(url, background=kind == "background", poll_every=0.0)


async def serve(kind: str, url: str, path: str) -> None:
    async with LocalServer(backend=backend(kind, url), store=SQLiteStore(path)) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(serve, *sys.argv[1:])
