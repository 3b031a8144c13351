"""Servers in processes of their own, for tests that kill them: ``python -m tests.backends.serving``.

Importing takes most of a server's start, so here it is done once: this process forks a server for each line of its
input that is an array of `serve`'s arguments and the environment. The server prints its process ID and its URL. A line
that is such an ID kills that server, and is repeated when it is dead.
"""

import json
import os
import signal
import sys
import traceback

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


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def serve(kind: str, url: str, path: str) -> None:
    async with LocalServer(backend=backend(kind, url), store=SQLiteStore(path)) as server:
        say(os.getpid(), server.url)
        await anyio.sleep_forever()


def forked(kind: str, url: str, path: str, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    sys.path[:0] = environment.get("PYTHONPATH", "").split(os.pathsep)
    try:
        anyio.run(serve, kind, url, path)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)  # what comes after is the other process's work


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def main() -> None:
    alive = set[int]()
    for line in sys.stdin:
        match json.loads(line):
            case int(pid):
                alive.remove(pid)
                kill(pid)
                say(pid)
            case arguments:
                pid = os.fork()
                if not pid:
                    forked(*arguments)
                alive.add(pid)
    for pid in alive:
        kill(pid)


if __name__ == "__main__":
    main()
