"""`Trial`: rounds of runs, in each of which something happens to the servers, and what is found at its end."""

import itertools
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import TaskGroup
from attrs import define, field

from openai_runs import Session
from openai_runs.stores.postgres.lease import LEASE
from tests.postgres import Postgres
from tests.replicas.audit import audit, install, latest
from tests.replicas.clients import Clients
from tests.replicas.cluster import Cluster, Replica
from tests.replicas.model import TOOL, Call, SlowModel

KINDS: Final = ("kill", "stop", "cut", "drop", "restart", "rolling")
#: Seconds from a fault until the runs of the server go on elsewhere.
RESUMED_WITHIN: Final = 12.0
_BORNE: Final = LEASE / 3 - 0.5  #: seconds without a database, after which servers go on as if nothing had been
_ENDED_WITHIN: Final = 120.0  # seconds after the last run was started


@define
class Round:
    """What came of one."""

    number: int
    kind: str
    seed: int
    what: str = ""  #: was done, and to whom
    started: int = 0
    interrupted: int = 0  #: runs whose model was answering a server that was lost
    resumed: list[float] = field(factory=list)  #: seconds after which these were resumed
    repeated: int = 0  #: model calls that were made anew
    seconds: float = 0
    faults: list[str] = field(factory=list)


@define(eq=False)
class Trial:
    """Several servers, one after another of which is harmed."""

    database: Postgres
    folder: Path
    servers: int
    at_once: int
    seed: int
    room: int | None = None  #: how many runs each server executes at once; unset: more than there are
    note: Callable[[str], None] = lambda text: None
    rounds: list[Round] = field(factory=list, init=False)
    cluster: Cluster = field(init=False)
    model: SlowModel = field(init=False)
    _chance: random.Random = field(init=False)
    _away: float = field(default=0.0, init=False)  # seconds
    _lost: dict[str, tuple[float, str, Call]] = field(factory=dict, init=False)  # by name: when, whose, which call

    async def run(self, kinds: Sequence[str], *, number: int | None = None) -> None:
        """Make a round of each kind. With a number, so many runs are started in each, and not always some more."""
        store = f"trial_{self.seed}"
        self.database.execute(f"CREATE DATABASE {store}")
        self.model = SlowModel() if number is None else SlowModel(pause=0.1)
        async with self.model as model:
            room = self.room or 10 * self.at_once
            options = ["--max-active-runs", str(room), "--owner-share", str(room)]
            options += ["--limit", "requests-per-minute=1000000", "--limit", "tokens-per-day=1000000000"]  # and counted
            self.cluster = Cluster(self.database, store, self.folder, self.servers, model.url, options=[options])
            async with self.cluster as cluster:
                install(cluster.store_url)
                sessions = [Session(each.url, "key", max_retries=60, timeout=40) for each in cluster.replicas]
                for session in sessions:
                    await session.__aenter__()
                try:
                    assistant = await sessions[0].assistants.create(model="m", tools=[TOOL])
                    for count, kind in enumerate(kinds):
                        made = Round(count, kind, self.seed + count)
                        self.rounds.append(made)
                        await self._round(made, sessions, assistant.id, number)
                finally:
                    for session in sessions:
                        await session.__aexit__(None, None, None)

    async def _round(self, made: Round, sessions: Sequence[Session], assistant_id: str, number: int | None) -> None:
        began = time.monotonic()
        self._chance = random.Random(made.seed)
        self._lost.clear()
        self.model.calls.clear()
        place = latest(self.cluster.store_url)
        urls = [replica.url for replica in self.cluster.replicas]
        clients = Clients(sessions, urls, assistant_id, random.Random(made.seed), f"{made.number}")
        with anyio.move_on_after(_ENDED_WITHIN + 60) as scope:
            async with anyio.create_task_group() as tasks:
                if number is None:
                    tasks.start_soon(clients.run, self.at_once)
                    await self._wait_for_calls(self.at_once // 3)
                    await anyio.sleep(self._chance.uniform(2, 5))
                else:
                    tasks.start_soon(clients.run_each, number)
                    await self._wait_for_calls(number // 3)
                    await anyio.sleep(self._chance.uniform(0, 0.5))
                self.note(f"round {made.number}: {made.kind}")
                await getattr(self, f"_{made.kind}")(made)
                if number is None:
                    await anyio.sleep(self._chance.uniform(2, 6))
                clients.is_over = True
                self.note(f"round {made.number}: {made.kind}; waiting for the end")
                await self._wait_for_end(clients, tasks)
        if scope.cancelled_caught:
            made.faults.append("the clients have not ended")
        made.started = clients.counts["started"]
        made.faults += [*clients.faults, *self.model.faults]
        self.model.faults.clear()
        made.faults += audit(self.cluster.store_url, place, clients.expected, clients.started)
        self._judge_calls(made)
        made.seconds = time.monotonic() - began

    async def _wait_for_calls(self, number: int) -> None:
        """Wait until the model is answering so many."""
        while sum(call.ended is None for calls in self.model.calls.values() for call in calls) < number:  # noqa: ASYNC110
            await anyio.sleep(0.05)

    async def _wait_for_end(self, clients: Clients, tasks: TaskGroup) -> None:
        with anyio.move_on_after(_ENDED_WITHIN):
            while clients.counts["ended"] < clients.counts["started"]:  # noqa: ASYNC110  # counted, without an event
                await anyio.sleep(0.1)
            return
        tasks.cancel_scope.cancel()
        clients.faults.append(f"{clients.counts['started'] - clients.counts['ended']} clients wait for ever")

    # What happens

    def _lose(self, replica: Replica, at: float) -> None:
        for name, call in self.model.open_calls(replica.name).items():
            self._lost[name] = at, replica.name, call

    def _pick(self, made: Round, what: str) -> Replica:
        replica = self._chance.choice(self.cluster.replicas)
        made.what = what.format(replica.name)
        return replica

    async def _none(self, made: Round) -> None:
        made.what = "nothing"
        await anyio.sleep(10)

    async def _kill(self, made: Round) -> None:
        seconds = self._chance.uniform(1, 6) if self._chance.random() < 0.5 else self._chance.uniform(9, 14)
        replica = self._pick(made, f"killed {{}} for {seconds:.1f} s")
        self._lose(replica, time.monotonic())
        await self.cluster.kill(replica, seconds)

    async def _stop(self, made: Round) -> None:
        replica = self._pick(made, "stopped {}")
        self._lose(replica, time.monotonic())
        await self.cluster.stop(replica)

    async def _cut(self, made: Round) -> None:
        flows_on = self._chance.random() < 0.5
        replica = self._pick(made, "cut {}" + ", and let it flow on" * flows_on)
        self._lose(replica, time.monotonic())
        await self.cluster.cut(replica, flows_on=flows_on)

    async def _drop(self, made: Round) -> None:
        """Lose connections, and with them the answers to what is under way."""
        replica = self._pick(made, "dropped the connections of {} again and again")
        for _ in range(20):
            replica.wire.drop()
            await anyio.sleep(self._chance.uniform(0.1, 0.8))

    async def _restart(self, made: Round) -> None:
        is_crash = self._chance.random() < 0.7
        began = time.monotonic()
        await self.cluster.restart(is_crash=is_crash)
        self._away = time.monotonic() - began
        made.what = f"the database {'crashed' if is_crash else 'was restarted'}, and was away for {self._away:.1f} s"

    async def _rolling(self, made: Round) -> None:
        made.what = "ended and started each"
        await self.cluster.roll(self._lose)

    # What is found

    def _judge_calls(self, made: Round) -> None:
        for name, calls in self.model.calls.items():
            phases = [[call for call in calls if call.is_first == is_first] for is_first in (True, False)]
            for phase in filter(None, phases):
                made.repeated += len(phase) - 1
                for earlier, later in itertools.pairwise(phase):
                    self._judge_pair(made, name, earlier, later)
        made.interrupted = len(self._lost)
        for name, (at, _, lost) in self._lost.items():
            calls = self.model.calls[name]
            later = calls[calls.index(lost) + 1 :]
            if later:
                # What the lost server was still sending when it was told to end may have been the whole answer.
                made.resumed.append(later[0].began - at)
                has_waited = later[0].began - at > RESUMED_WITHIN
                if later[0].is_first == lost.is_first and has_waited and self.room is None:
                    made.faults.append(f"{name} was resumed {later[0].began - at:.1f} s after the fault")

    def _judge_pair(self, made: Round, name: str, earlier: Call, later: Call) -> None:
        overlap = (later.began if earlier.ended is None else earlier.ended) - later.began
        overlap = time.monotonic() - later.began if earlier.ended is None else overlap
        pair = f"{name}: asked by {earlier.server} and by {later.server}"
        if made.kind != "stop" and overlap > 0.5:
            made.faults.append(f"{pair}, both for {overlap:.1f} s")
        # A server that has not reached the database for two thirds of its lease cannot know that nobody else does.
        is_harmless = made.kind in ("none", "drop") or (made.kind == "restart" and self._away < _BORNE)
        if earlier.is_whole and is_harmless:
            made.faults.append(f"{pair}, {later.began - (earlier.ended or 0):.1f} s after a whole answer")
