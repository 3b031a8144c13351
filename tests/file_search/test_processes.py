"""Processes, forked and started: each has what it was given and nothing else, and none is left behind."""

import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import IO, Any

import anyio
import msgspec
import pytest

from openai_runs.file_search import processes
from openai_runs.file_search.extraction_worker import Job
from openai_runs.file_search.fork_server import Task
from openai_runs.file_search.processes import NOT_STARTED, ForkedProcesses, Processes, StartedProcesses

pytestmark = pytest.mark.anyio

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, processes are not forked")
LONG = 600.0  # seconds


@pytest.fixture(params=[pytest.param(ForkedProcesses, marks=only_linux), StartedProcesses])
async def runner(request: pytest.FixtureRequest) -> AsyncGenerator[Processes]:
    """Each way to run processes."""
    runner = request.param()
    yield runner
    await runner.aclose()


@pytest.fixture
async def forked() -> AsyncGenerator[ForkedProcesses]:
    """The way of Linux."""
    runner = ForkedProcesses()
    yield runner
    await runner.aclose()


@pytest.fixture
def file() -> Iterator[IO[bytes]]:
    """A process's input."""
    with tempfile.TemporaryFile() as file:
        file.write(b"the file")
        file.seek(0)
        yield file


@pytest.fixture
def output() -> Iterator[IO[bytes]]:
    """A process's output."""
    with tempfile.TemporaryFile() as output:
        yield output


def task(name: str) -> Task:
    return Task(f"tests.file_search.processes.{name}", "the argument")


def text_of(output: IO[bytes]) -> str:
    return os.pread(output.fileno(), 2**16, 0).decode()


async def pid_in(output: IO[bytes], *, other_than: int = 0) -> int:
    """The number that a hanging process says."""
    while not (text := text_of(output)).endswith("\n") or int(text) == other_than:
        await anyio.lowlevel.checkpoint()
    return int(text)


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended, and is nobody's, may stay for a moment as a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def server_of(forked: ForkedProcesses) -> Any:
    assert forked._server is not None
    return forked._server.process


async def test_what_it_is_given(runner: Processes, file: IO[bytes], output: IO[bytes], monkeypatch: pytest.MonkeyPatch):
    """Its argument, the file, and where modules are: no keys, and no other descriptors, also not of other files."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    async with anyio.create_task_group() as tasks:
        with tempfile.TemporaryFile() as other_file, tempfile.TemporaryFile() as other_output:
            options = {"deadline": LONG}
            tasks.start_soon(lambda: runner.run(task("hanging"), other_file, other_output, **options))
            await pid_in(other_output)
            assert await runner.run(task("curious"), file, output, deadline=LONG) == 0
            tasks.cancel_scope.cancel()
    given = json.loads(text_of(output))
    assert (given["argument"], given["input"], given["child_signal"]) == ("the argument", "the file", True)
    assert set(given["environment"]) <= {"PYTHONPATH", "LC_CTYPE"}  # Python sets the second by itself
    assert given["descriptors"] == [0, 1, 2, 3]  # the last one is that of the folder that lists them


@pytest.mark.parametrize(("name", "code"), [("silent", 0), ("missing", 1), ("crashing", -signal.SIGSEGV)])
async def test_its_code(runner: Processes, file: IO[bytes], output: IO[bytes], name: str, code: int):
    """How it has ended is told, and the next one starts as if nothing had been."""
    for _ in range(2):
        assert await runner.run(task(name), file, output, deadline=LONG) == code


async def test_its_time_is_over(runner: Processes, file: IO[bytes], output: IO[bytes]):
    """It is killed, also if it takes no CPU."""
    assert await runner.run(task("silent"), file, output, deadline=LONG) == 0  # whatever has to be started is there
    assert await runner.run(task("hanging"), file, output, deadline=0.01) is None


async def test_cancellation(runner: Processes, file: IO[bytes], output: IO[bytes]):
    """The process of a task that is cancelled is gone when the cancellation gets out."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: runner.run(task("hanging"), file, output, deadline=LONG))
        pid = await pid_in(output)
        assert is_there(pid)
        tasks.cancel_scope.cancel()
    assert not is_there(pid)


@pytest.fixture
def full_disk() -> Iterator[IO[bytes]]:
    """An output that takes nothing."""
    if not (path := Path("/dev/full")).exists():
        pytest.skip("there is no such file")
    with path.open("wb") as output:
        yield output


async def test_no_room_for_its_output(runner: Processes, file: IO[bytes], output: IO[bytes], full_disk: IO[bytes]):
    """On a full disk it fails, and the next one has what it needs."""
    job = Job("a.txt", max_tokens=100, overlap=0, memory=2**30, seconds=60, output=2**20)
    reading = Task("openai_runs.file_search.extraction_worker", msgspec.json.encode(job).decode())
    code = await runner.run(reading, file, full_disk, deadline=LONG)
    assert code is not None
    assert code > 0
    file.seek(0)
    assert await runner.run(reading, file, output, deadline=LONG) == 0
    assert text_of(output).startswith('"the file"\n')


async def test_cancelled_while_it_starts(runner: Processes, file: IO[bytes], output: IO[bytes]):
    """Nothing is left of it then, either, and the next one runs."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: runner.run(task("hanging"), file, output, deadline=LONG))
        await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert await runner.run(task("silent"), file, output, deadline=LONG) == 0


@only_linux
async def test_the_server_dies(forked: ForkedProcesses, file: IO[bytes], output: IO[bytes]):
    """Its processes end with it; another server runs them again, once."""
    codes = []

    async def run(output: IO[bytes]) -> None:
        codes.append(await forked.run(task("hanging"), file, output, deadline=LONG))

    with tempfile.TemporaryFile() as other_output:
        async with anyio.create_task_group() as tasks:
            outputs = (output, other_output)
            for each in outputs:
                tasks.start_soon(run, each)
            first = [await pid_in(each) for each in outputs]
            server_of(forked).kill()
            for each, pid in zip(outputs, first, strict=True):
                await pid_in(each, other_than=pid)
                assert not is_there(pid)
            server_of(forked).kill()
    assert codes == [NOT_STARTED] * 2
    assert await forked.run(task("silent"), file, output, deadline=LONG) == 0


@only_linux
async def test_the_server_is_gone_before(forked: ForkedProcesses, file: IO[bytes], output: IO[bytes]):
    """Between two files nobody notices that it has died; the next file does not notice either."""
    assert await forked.run(task("silent"), file, output, deadline=LONG) == 0
    server = server_of(forked)
    server.kill()
    await server.wait()
    assert await forked.run(task("silent"), file, output, deadline=LONG) == 0


@only_linux
async def test_the_server_hangs(
    forked: ForkedProcesses, file: IO[bytes], output: IO[bytes], monkeypatch: pytest.MonkeyPatch
):
    """If it cannot even kill, it is killed itself; the next file has another one."""
    monkeypatch.setattr(processes, "_GRACE", 0.01)
    assert await forked.run(task("silent"), file, output, deadline=LONG) == 0
    server = server_of(forked)
    os.kill(server.pid, signal.SIGSTOP)
    assert await forked.run(task("hanging"), file, output, deadline=0.01) is None
    assert server.returncode == -signal.SIGKILL
    assert await forked.run(task("silent"), file, output, deadline=LONG) == 0


@only_linux
async def test_the_server_does_not_start(
    forked: ForkedProcesses, file: IO[bytes], output: IO[bytes], monkeypatch: pytest.MonkeyPatch
):
    """Then there is no process, and no socket is left."""

    async def fail(*arguments: object, **options: object) -> None:
        raise OSError("no more processes")

    with monkeypatch.context() as patch:
        patch.setattr(anyio, "open_process", fail)
        with pytest.raises(OSError, match="no more processes"):
            await forked.run(task("silent"), file, output, deadline=LONG)
    assert await forked.run(task("silent"), file, output, deadline=LONG) == 0


@only_linux
async def test_after_a_crash(forked: ForkedProcesses, file: IO[bytes], output: IO[bytes]):
    """There is another server, with other addresses; what the old one has begun goes on, and then it ends."""
    with tempfile.TemporaryFile() as other_file, tempfile.TemporaryFile() as other_output:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: forked.run(task("hanging"), other_file, other_output, deadline=LONG))
            pid = await pid_in(other_output)
            old = server_of(forked)
            assert await forked.run(task("crashing"), file, output, deadline=LONG) == -signal.SIGSEGV
            assert await forked.run(task("silent"), file, output, deadline=LONG) == 0
            assert server_of(forked) is not old
            assert is_there(pid)
            tasks.cancel_scope.cancel()
    assert await old.wait() == 0
    assert not is_there(pid)


@only_linux
async def test_a_limit_is_no_crash(forked: ForkedProcesses, file: IO[bytes], output: IO[bytes]):
    """Files that take too long are no reason to start all anew."""
    assert await forked.run(task("slow"), file, output, deadline=LONG) == -signal.SIGXCPU
    old = server_of(forked)
    assert await forked.run(task("silent"), file, output, deadline=LONG) == 0
    assert server_of(forked) is old


PROGRAM = """
import anyio, sys, tempfile
from openai_runs.file_search.processes import Task, processes

async def main():
    with tempfile.TemporaryFile() as file, open(sys.argv[1], "w+b") as output:
        await processes().run(Task("tests.file_search.processes.hanging", ""), file, output, deadline=600)

anyio.run(main)
"""


@only_linux
async def test_its_program_is_killed(tmp_path: Path):
    """`kill -9` of the program that wanted a file read ends the process that reads it."""
    path = tmp_path / "output"
    path.touch()
    command = [sys.executable, "-c", PROGRAM, str(path)]
    async with await anyio.open_process(command, stdout=None, stderr=None) as program:
        with path.open("rb") as output:
            end = os.pidfd_open(await pid_in(output))
        program.kill()
        await anyio.wait_readable(end)  # it has ended
        os.close(end)


def test_the_way_of_the_system(monkeypatch: pytest.MonkeyPatch):
    """Only Linux forks, which alone ends processes with their parents."""
    for platform, way in (("linux", ForkedProcesses), ("darwin", StartedProcesses)):
        monkeypatch.setattr(sys, "platform", platform)
        assert isinstance(processes.processes(), way)
