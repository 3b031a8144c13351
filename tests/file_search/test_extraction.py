"""Reading a file in a process of its own: whatever happens to it, the error says so and nothing else is hurt."""

import sys
from unittest.mock import Mock

import anyio
import pytest

from openai_runs.errors import FileError
from openai_runs.file_search import extraction
from openai_runs.file_search.chunking import Chunking
from openai_runs.file_search.extraction import ExtractionLimits, Extractor
from openai_runs.file_search.processes import ForkedProcesses, StartedProcesses
from tests.file_search.pdfs import bomb, pdf

pytestmark = pytest.mark.anyio

SMALL = Chunking(100, 0)


async def chunks(content, filename="a.txt", **limits):
    extractor = Extractor(ExtractionLimits(**limits))
    try:
        return await extractor.chunks(content, filename, SMALL)
    finally:
        await extractor.aclose()


async def refusal(content, filename="a.txt", **limits):
    with pytest.raises(FileError) as raised:
        await chunks(content, filename, **limits)
    return raised.value.code, raised.value.message


@pytest.fixture
def other_process(monkeypatch):
    """Runs another module instead."""
    return lambda name: monkeypatch.setattr(extraction, "_MODULE", f"tests.file_search.processes.{name}")


@pytest.fixture(params=[ForkedProcesses, StartedProcesses], autouse=True)
def way(request, monkeypatch):
    """Each way to run processes."""
    if request.param is ForkedProcesses and sys.platform != "linux":
        pytest.skip("processes are not forked here")
    monkeypatch.setattr(extraction, "processes", request.param)


async def test_bytes_and_paths(tmp_path):
    """A file may be in memory or on the disk; a PDF is read, too."""
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf("The first page"))
    assert await chunks(path, "a.pdf") == ["The first page"]
    assert await chunks(b"word " * 150) == ["word " * 99 + "word", "word " * 49 + "word"]


async def test_a_refusal_comes_from_the_process():
    """Its code and message are passed on."""
    code, message = await refusal(b"PK\x03\x04\x00", "a.docx")
    assert code == "unsupported_file"
    assert message.startswith("Files of this type (.docx) are not supported: only PDF, and text such as plain text")


async def test_no_file(tmp_path):
    """A path without a file is the caller's mistake, not the file's."""
    with pytest.raises(FileNotFoundError):
        await chunks(tmp_path / "none")


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not limit address space")
async def test_a_bomb_that_takes_memory():
    """A PDF of a few kilobytes that unpacks to gigabytes ends its process only."""
    code, _ = await refusal(bomb(400, b" "), "bomb.pdf", memory=300 * 2**20)
    assert code == "invalid_file"


async def test_a_bomb_that_takes_time():
    """A PDF that takes minutes is given up after the seconds that it is allowed."""
    data = bomb(100)
    assert len(data) < 100_000
    assert await refusal(data, "bomb.pdf", seconds=1) == ("invalid_file", "The file takes too long to read.")


async def test_too_much_output():
    """What the chunks take on the disk is limited, too."""
    assert await refusal(b"word " * 10_000, output=1000) == ("invalid_file", "The file has too much text.")


async def test_a_crash(other_process):
    """A crash of the library is the file's fault, and does not reach us."""
    other_process("crashing")
    assert await refusal(b"x") == ("invalid_file", "The file makes the program crash that reads it.")


async def test_a_process_that_hangs(other_process):
    """It is killed when its time is over, also if it takes no CPU."""
    other_process("hanging")
    assert await refusal(b"x", deadline=0.01) == ("invalid_file", "The file takes too long or too much memory to read.")


@pytest.mark.parametrize("name", ["silent", "missing"])
async def test_a_process_that_says_nothing(other_process, name):
    """If the process cannot even say how it went, that is the server's fault."""
    other_process(name)
    assert await refusal(b"x") == (
        "server_error",
        "The server could not start the program that reads files, or had no room for it.",
    )


async def test_a_few_at_a_time(monkeypatch):
    """No more processes run at once than are allowed; the others wait for their turn."""
    started = []

    async def run(*arguments, **options):
        started.append(arguments)
        await anyio.sleep_forever()

    extractor = Extractor(ExtractionLimits(processes=1))
    monkeypatch.setattr(extractor, "_processes", Mock(run=run))
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(extractor.chunks, b"x", "a.txt", SMALL)
        while not started:
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        assert len(started) == 1
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("name", ["memory", "seconds", "output", "processes", "deadline"])
async def test_limits_are_checked(name):
    """A limit of nothing would refuse every file."""
    with pytest.raises(ValueError, match=name):
        ExtractionLimits(**{name: 0})
