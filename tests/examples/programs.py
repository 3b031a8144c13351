"""Programs of ``docs/examples``, started by the commands that their page prints."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Condition, Thread

from attrs import define, field

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/example-applications.md").read_text("utf-8")
PATIENCE = 30  # seconds for a start or a stop, on a machine that does other things, too


@define(eq=False)
class Program:
    """A running program, and what it has written so far."""

    process: subprocess.Popen[str]
    _lines: list[str] = field(factory=list)
    _changed: Condition = field(factory=Condition)
    _ended: bool = False

    def read(self) -> None:
        """Read what it writes, in a thread of its own, so that it never waits for us."""
        for line in self.process.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def output(self) -> str:
        with self._changed:
            return "".join(self._lines)

    def kill(self) -> None:
        """Kill it and its children, which is no way to stop it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until it has written a line that matches."""
        found: list[re.Match[str]] = []

        def is_there() -> bool:
            found.extend(match for line in self._lines if (match := re.search(pattern, line)))
            return bool(found) or self._ended

        with self._changed:
            self._changed.wait_for(is_there, PATIENCE)
        assert found, f"{pattern!r} is not in what it wrote:\n{self.output}"
        return found[0]


def environment(**variables: str) -> dict[str, str]:
    """That of this process, with the programs of its Python first in the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", **variables}


def printed(command: str) -> list[str]:
    """The words of a command, which the page has to print."""
    assert f"$ {command}" in PAGE, f"the page does not print {command!r}"
    return shlex.split(command)


@contextmanager
def program(command: str, *arguments: str, **variables: str) -> Iterator[Program]:
    """Start a command of the page, with further arguments and variables; at the end stop it, as Ctrl-C does."""
    with subprocess.Popen(
        [*printed(command), *arguments],
        cwd=ROOT,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C interrupts a program and its children, which are a group
    ) as process:
        running = Program(process)
        reader = Thread(target=running.read)
        reader.start()
        try:
            yield running
            with suppress(ProcessLookupError):  # if a test has killed it
                os.killpg(process.pid, signal.SIGINT)
            process.wait(PATIENCE)
        finally:
            running.kill()  # whatever is left of it
            reader.join()
    assert "Traceback" not in running.output, running.output


def run(command: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the page to its end, with further arguments and variables."""
    return subprocess.run(
        [*printed(command), *arguments],
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
