"""A server in a process of its own, to be killed: ``python -m tests.engine.backends.serving KIND MODEL_URL STORE``."""

import sys

import anyio

from openai_runs.engine.backends import ModelBackend
from openai_runs.engine.backends.chat_completions import ChatCompletionsBackend
from openai_runs.engine.backends.responses import ResponsesBackend
from openai_runs.engine.sqlite_store import SQLiteStore
from openai_runs.server import LocalServer


def backend(kind: str, url: str) -> ModelBackend:
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
