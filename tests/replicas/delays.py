"""How long it takes until one server notices what is done at another one.

Deltas of runs that one server executes, read at another one, beside the same read where they are executed; and from the
answer to a cancellation at one server until the model's endpoint sees that the one that executes the run has hung up.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

import anyio
from aiohttp import ClientSession, ClientTimeout
from attrs import define, field, frozen

from openai_runs import Session
from tests.postgres import Postgres
from tests.replicas.cluster import Cluster, Replica
from tests.replicas.model import Call, SlowModel, chunk_of, usage_chunk

_READERS: Final = 100
_PIECES: Final = 200
_PAUSE: Final = 0.05  # seconds
_SETTLED: Final = 100  #: pieces of each answer that come while others are still being started
_CANCELLED: Final = 200


class StampingModel(SlowModel):
    """Writes the time in place of an answer; one whose name begins with ``busy`` never ends."""

    def _text(self, call: Call) -> Iterator[Any]:
        yield chunk_of({"role": "assistant", "content": ""})
        number = 0
        while number < _PIECES or call.name.startswith("busy"):
            number += 1
            yield chunk_of({"content": f"{time.time():.6f} "})
        yield chunk_of({}, "stop")
        yield usage_chunk(number)


@frozen
class Delay:
    """The percentiles of some delays, in milliseconds."""

    what: str
    number: int
    p50: float
    p99: float
    goal: str = ""

    @classmethod
    def of(cls, what: str, seconds: list[float], goal: str = "") -> "Delay":
        cuts = quantiles(seconds, n=100)
        return cls(what, len(seconds), cuts[49] * 1e3, cuts[98] * 1e3, goal)


@define
class Delays:
    """Two servers, of which the first one has no room for runs of clients."""

    database: Postgres
    folder: Path
    found: list[Delay] = field(factory=list, init=False)
    faults: list[str] = field(factory=list, init=False)
    _assistant: str = field(default="", init=False)

    async def run(self) -> None:
        self.database.execute("CREATE DATABASE delays")
        async with StampingModel(pause=_PAUSE) as model:
            options = [["--max-active-runs", "1"], ["--max-active-runs", "300", "--owner-share", "300"]]
            cluster = Cluster(self.database, "delays", self.folder, 2, model.url, options=options, is_wired=False)
            async with cluster:
                [full, other] = cluster.replicas
                async with Session(full.url, "key") as session, Session(other.url, "key") as second:
                    self._assistant = (await session.assistants.create(model="m")).id
                    thread = await session.threads.create(messages=[{"role": "user", "content": "busy"}])
                    run = await session.runs.create(thread.id, assistant_id=self._assistant)
                    await model.called("busy")
                    there = await self._deltas(model, other, other, "own")
                    elsewhere = await self._deltas(model, full, other, "elsewhere")
                    at, of = (
                        Delay.of("a delta, read where the run is executed", there),
                        Delay.of("elsewhere", elsewhere),
                    )
                    added = Delay("that adds", of.number, of.p50 - at.p50, of.p99 - at.p99, "15 and 50 ms")
                    self.found += [at, of, added]
                    await self._cancels(model, session, second)
                    await session.runs.cancel(run)

    async def _deltas(self, model: StampingModel, at: Replica, by: Replica, what: str) -> list[float]:
        found: list[float] = []
        async with ClientSession(timeout=ClientTimeout(total=120)) as http, anyio.create_task_group() as tasks:
            for number in range(_READERS):
                tasks.start_soon(self._read, http, at, f"{what}-{number}", found)
        others = {call.server for name, calls in model.calls.items() if name.startswith(what) for call in calls}
        if others != {by.name}:
            self.faults.append(f"runs that {by.name} should have executed were executed by {others}")
        return found

    async def _read(self, http: ClientSession, at: Replica, name: str, found: list[float]) -> None:
        async with http.post(f"{at.url}/threads", json={"messages": [{"role": "user", "content": name}]}) as response:
            thread = (await response.json())["id"]
        body = {"assistant_id": self._assistant, "stream": True}
        delays: list[float] = []
        async with http.post(f"{at.url}/threads/{thread}/runs", json=body) as response:
            assert response.status == 200, await response.text()
            event = b""
            async for line in response.content:
                if line.startswith(b"event: "):
                    event = line
                elif line.startswith(b"data: {") and event == b"event: thread.message.delta\n":
                    now = time.time()
                    [part] = json.loads(line[6:])["delta"]["content"]
                    delays += [now - float(stamp) for stamp in part["text"]["value"].split()]
        if len(delays) != _PIECES:
            self.faults.append(f"{name} has {len(delays)} deltas")
        found += delays[_SETTLED:]

    async def _cancels(self, model: StampingModel, at: Session, of: Session) -> None:
        found: list[float] = []
        limit = anyio.CapacityLimiter(5)

        async def cancel(name: str) -> None:
            async with limit:
                thread = await of.threads.create(messages=[{"role": "user", "content": name}])
                run = await of.runs.create(thread.id, assistant_id=self._assistant)
                call = await model.called(name)
                await anyio.sleep(0.3)
                await at.runs.cancel(run)
                answered = time.monotonic()
                found.append(await model.ended(call) - answered)

        async with anyio.create_task_group() as tasks:
            for number in range(_CANCELLED):
                tasks.start_soon(cancel, f"cancelled-{number}")
        self.found.append(Delay.of("from a cancellation's answer until the model is hung up on", found, "p99: 50 ms"))
