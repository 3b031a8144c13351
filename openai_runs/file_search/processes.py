"""Runs a module in a process of its own, with a file as its standard input and another as its output.

On Linux the process is forked from one that is kept for this, a `fork_server`, which takes some milliseconds. Elsewhere
it is started anew, which takes some tenths of a second: macOS does not support to fork without a new program, and has
no way to have a process killed with its parent. Both begin from the same state, which no other file has touched.
"""

import asyncio
import os
import signal
import socket
import sys
from subprocess import DEVNULL
from typing import IO, Final, Protocol

import anyio
import anyio.abc
import msgspec
from attrs import define, field, frozen

from openai_runs._finishing import finish
from openai_runs.file_search.fork_server import Task

_FORK_SERVER: Final = "openai_runs.file_search.fork_server"

#: The code of a process that could not be started.
NOT_STARTED: Final = 1

#: Seconds that the fork server has to kill a process. If it does not, it is killed itself, and its processes with it.
_GRACE: Final = 5.0

#: How a process ends that has met one of its limits. Every other signal is a crash.
_LIMITS: Final = frozenset({signal.SIGKILL, signal.SIGXCPU, signal.SIGXFSZ})


class Processes(Protocol):
    """A way to run processes."""

    async def run(self, task: Task, file: IO[bytes], output: IO[bytes], *, deadline: float) -> int | None:
        """Run one to its end; its exit code, or ``None`` if it was killed since ``deadline`` seconds were over.

        Whatever happens to the caller, the process has ended when this returns.
        """

    async def aclose(self) -> None:
        """Leave nothing behind."""


def processes() -> Processes:
    """The best way on this system."""
    return ForkedProcesses() if sys.platform == "linux" else StartedProcesses()


class StartedProcesses:
    """Starts a new Python for each."""

    async def run(self, task: Task, file: IO[bytes], output: IO[bytes], *, deadline: float) -> int | None:
        """See `Processes.run`."""
        started: list[anyio.abc.Process] = []

        async def start() -> None:
            started.append(await _started(task.module, task.argument, stdin=file, stdout=output))

        try:
            with anyio.move_on_after(deadline):
                await finish(start())
                return await started[0].wait()
        finally:  # cancelled or too late, perhaps
            for process in started:
                await finish(_ended(process))
        return None

    async def aclose(self) -> None:
        """There is nothing to close."""


@frozen(eq=False)
class _Server:
    process: anyio.abc.Process
    control: socket.socket


@define(eq=False)
class ForkedProcesses:
    """Has them forked by a server that is started for the first one. If it dies, another one is started."""

    _server: _Server | None = field(default=None, init=False)
    _retired: list[anyio.abc.Process] = field(factory=list, init=False)  # they end with their last process
    _starting: asyncio.Lock = field(factory=asyncio.Lock, init=False)

    async def run(self, task: Task, file: IO[bytes], output: IO[bytes], *, deadline: float) -> int | None:
        """See `Processes.run`."""
        with anyio.move_on_after(deadline):
            for _ in range(2):  # the server may have died of somebody else's process
                server = await self._running()
                code = await self._run(server, msgspec.json.encode(task), file, output)
                # After a crash, who tries to take over a process by its addresses has to guess them anew.
                if code is None or (code < 0 and -code not in _LIMITS):
                    self._retire(server)
                if code is not None:
                    return code
                file.seek(0)
                output.seek(0)
                output.truncate()
            return NOT_STARTED
        return None

    async def aclose(self) -> None:
        """Kill the server, and with it all processes that run."""
        if self._server is not None:
            self._retire(self._server)
        while self._retired:
            await finish(_ended(self._retired[-1]))
            self._retired.pop()

    async def _run(self, server: _Server, message: bytes, file: IO[bytes], output: IO[bytes]) -> int | None:
        """Run one to its end; ``None`` if the server has died."""
        ours, theirs = socket.socketpair()
        with ours:
            ours.settimeout(0)
            with theirs:
                try:
                    socket.send_fds(server.control, [message], [file.fileno(), output.fileno(), theirs.fileno()])
                except OSError:
                    return None
            try:
                return await _code(ours)
            finally:  # it has ended already, unless this is cancelled
                await finish(_killed(ours, server.process))

    async def _running(self) -> _Server:
        async with self._starting:
            if self._server is not None:
                return self._server
            return await finish(self._start())

    async def _start(self) -> _Server:
        self._retired = [process for process in self._retired if process.returncode is None]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(0)
        with theirs:
            try:
                process = await _started(_FORK_SERVER, stdin=theirs, stdout=DEVNULL)
            except OSError:
                ours.close()
                raise
        self._server = _Server(process, ours)
        return self._server

    def _retire(self, server: _Server) -> None:
        """Send nothing more to a server; it ends when its processes have ended."""
        if self._server is server:
            self._server = None
            server.control.close()
            self._retired.append(server.process)


async def _started(
    module: str, *arguments: str, stdin: IO[bytes] | socket.socket, stdout: IO[bytes] | int
) -> anyio.abc.Process:
    command = [sys.executable, "-P", "-s", "-B", "-X", "utf8", "-m", module, *arguments]
    # Nothing else of the environment: whoever takes over the process by a file finds no keys there.
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return await anyio.open_process(
        command,
        stdin=stdin,  # type: ignore[arg-type]  # whatever has a descriptor
        stdout=stdout,
        stderr=DEVNULL,
        env=environment,
        start_new_session=True,
    )


async def _code(channel: socket.socket) -> int | None:
    """The exit code, or ``None`` if there is nobody left to say it."""
    said = await asyncio.get_running_loop().sock_recv(channel, 16)
    return int(said) if said else None


async def _killed(channel: socket.socket, server: anyio.abc.Process) -> None:
    """Have the process killed, and return when it has ended."""
    channel.shutdown(socket.SHUT_WR)
    with anyio.move_on_after(_GRACE):
        await _code(channel)
        return
    await _ended(server)


async def _ended(process: anyio.abc.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()
    await process.aclose()
