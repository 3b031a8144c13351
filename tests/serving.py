"""``openai-runs serve`` as a process of its own, as its users have it."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import define, field


@contextmanager
def serving(store: Path | str, *arguments: str, **environment: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server process; its URL, as it says it itself."""
    command = [sys.executable, "-m", "openai_runs", "serve", "--store", str(store), "--port", "0", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={"COLUMNS": "200", **environment}
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+/v1", line)
        assert found, line + (process.stderr.read() if process.stderr else "")
        try:
            yield found[0], process
        finally:
            process.terminate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def unmeasured() -> dict[str, str]:
    """The environment of a process that is to be killed: coverage could not be saved there, so none is measured."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


@define
class Server:
    """The same on a fixed port, to be killed and started again."""

    store: Path | str
    options: Sequence[str] = ()
    port: int = field(factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    log: Path | None = None  #: the file that has what it says; otherwise that is kept until it is killed

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        arguments = ["serve", "--store", str(self.store), "--port", str(self.port), "--no-access-log", *self.options]
        command = [sys.executable, "-m", "openai_runs", *arguments]
        if self.log is None:
            self.process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=unmeasured()
            )
            return
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=unmeasured())

    def kill(self) -> None:
        assert self.process is not None
        assert self.process.poll() is None, self._said()  # it must not end by itself
        self.process.kill()
        self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()

    def _said(self) -> str:
        assert self.process is not None
        return self.log.read_text() if self.process.stderr is None else self.process.stderr.read().decode()
