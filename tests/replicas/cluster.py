"""`Cluster`: several servers on one PostgreSQL, each with its own wire to that, and all that can be done to them."""

import signal
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self

import anyio
import anyio.to_thread
from aiohttp import ClientError, ClientSession
from anyio import AsyncContextManagerMixin
from attrs import define, field

from tests.crash.wire import Wire
from tests.postgres import Postgres
from tests.replicas.model import HEADER
from tests.serving import Server

STOPPED: Final = 15.0  # seconds
CUT: Final = 14.0


@define(eq=False)
class Replica(Server):
    """One of the servers."""

    name: str = ""
    wire: Wire = field(kw_only=True)

    @property
    def site(self) -> str:
        return self.url.removesuffix("/v1")

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def wait_until_up(self) -> None:
        assert self.process is not None
        async with ClientSession() as http:
            while True:
                assert self.process.poll() is None, self._said()[-3000:]
                try:
                    async with http.get(f"{self.site}/readyz") as response:
                        if response.status == 200:
                            return
                except ClientError:
                    pass
                await anyio.sleep(0.1)

    async def wait_for_end(self) -> int:
        assert self.process is not None
        return await anyio.to_thread.run_sync(self.process.wait)


@define(eq=False)
class Cluster(AsyncContextManagerMixin):
    """Starts the servers, and ends them."""

    database: Postgres
    store: str  #: the database's name
    folder: Path
    number: int
    model_url: str
    options: Sequence[Sequence[str]] = ((),)  #: of each server, by turns
    is_wired: bool = True  #: otherwise the servers are connected to the database itself
    replicas: list[Replica] = field(factory=list, init=False)

    @property
    def store_url(self) -> str:
        """Without a wire in between."""
        return self.database.url(self.store)

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with anyio.create_task_group() as wires:
            try:
                for number in range(self.number):
                    self.replicas.append(replica := self._replica(number))
                    wires.start_soon(replica.wire.serve)
                    replica.start()
                    await replica.wait_until_up()
                yield self
            finally:
                for replica in self.replicas:
                    if replica.process is not None:
                        replica.process.kill()
                        replica.process.wait()
                wires.cancel_scope.cancel()

    def _replica(self, number: int) -> Replica:
        name = f"s{number}"
        folder = self.folder / name
        folder.mkdir()
        wire = Wire(self.database.socket, folder / ".s.PGSQL.5432", refuses=False)
        options = ["--replica", "--files-folder", str(self.folder / "files"), "--backend", "chat", "--drain", "1"]
        options += ["--model-url", self.model_url, "--header", f"{HEADER}={name}", "--no-console"]
        options += self.options[number % len(self.options)]
        url = f"postgresql://postgres:@/{self.store}?host={folder}" if self.is_wired else self.store_url
        return Replica(url, options, log=self.folder / f"{name}.log", name=name, wire=wire)

    async def kill(self, replica: Replica, seconds: float) -> None:
        """Kill a server, and start it again after so many seconds."""
        replica.kill()
        await anyio.sleep(seconds)
        replica.start()
        await replica.wait_until_up()

    async def stop(self, replica: Replica) -> None:
        """Have a server sleep."""
        replica.signal(signal.SIGSTOP)
        await anyio.sleep(STOPPED)
        replica.signal(signal.SIGCONT)

    async def cut(self, replica: Replica, *, flows_on: bool) -> None:
        """Have nothing pass between a server and the database, and then lose it, or let it flow on."""
        replica.wire.is_cut = True
        await anyio.sleep(CUT)
        if not flows_on:
            replica.wire.drop()
        replica.wire.is_cut = False

    async def restart(self, *, is_crash: bool) -> None:
        """Restart the database."""
        await anyio.to_thread.run_sync(self._restart, is_crash)

    def _restart(self, is_crash: bool) -> None:
        if is_crash:
            self.database.kill()
            self.database.start()
        else:
            self.database.restart()

    async def roll(self, note: Any) -> None:
        """End one server after the other as a deployment does, and start it again."""
        for replica in self.replicas:
            note(replica, time.monotonic())
            replica.signal(signal.SIGTERM)
            ended = await replica.wait_for_end()
            assert ended == 0, f"{replica.name} ended with {ended}: {replica.log.read_text()[-3000:]}"
            replica.start()
            await replica.wait_until_up()
