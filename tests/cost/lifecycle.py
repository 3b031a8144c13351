"""What one run with a tool call takes: requests of a client that follows it, commits and rows of the server."""

import logging
from collections.abc import Sequence
from typing import Any, Final

import anyio

from openai_runs.server import LocalServer
from openai_runs.session import Session
from openai_runs.stores import MemoryStore
from openai_runs.toolbox import Toolbox

_RUNS: Final = 50
_ACCESS: Final = logging.getLogger("openai_runs.access")


class _Counting(MemoryStore):
    """Counts commits, and the rows in them."""

    def __init__(self) -> None:
        super().__init__()
        self.commits = self.rows = 0

    async def commit(self, changes: Sequence[Any]) -> None:
        await super().commit(changes)
        self.commits += 1
        self.rows += len(changes)


class _Requests(logging.Handler):
    """Counts the lines of the access log."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        del record
        self.count += 1


def _tools() -> Toolbox:
    toolbox = Toolbox()

    @toolbox.tool
    async def look_up(key: str) -> str:
        """Look a key up."""
        return f"found {key}"

    return toolbox


async def _live(session: Session, number: int) -> None:
    toolbox = _tools()
    assistant = await session.assistants.create(model="scripted", tools=toolbox)
    for _ in range(number):
        thread = {"messages": [{"role": "user", "content": "Hi"}]}
        run = await session.threads.create_and_run(assistant_id=assistant.id, thread=thread)
        await session.runs.complete(run, toolbox=toolbox)


async def _count() -> dict[str, float]:
    requests, store = _Requests(), _Counting()
    _ACCESS.addHandler(requests)
    _ACCESS.setLevel(logging.DEBUG)
    _ACCESS.propagate = False
    counts = []
    async with LocalServer(store=store, log_access=True) as server, server.session() as session:
        for number in 1, 1 + _RUNS:
            before = requests.count, store.commits, store.rows
            await _live(session, number)
            counts.append(
                [now - then for now, then in zip((requests.count, store.commits, store.rows), before, strict=True)]
            )
    few, many = counts
    names = "requests of a run that is followed", "commits of a run", "rows of a run"
    return {name: (b - a) / _RUNS for name, a, b in zip(names, few, many, strict=True)}


def of_lifecycle() -> dict[str, float]:
    """The counts for each run."""
    return anyio.run(_count)
