"""Reads a file in a process of its own, which is limited and can be killed.

A process for each file, and not a pool: what a hostile file does to the process that reads it cannot reach the next
owner's file, and a limit on CPU time counts one file.
"""

import signal
import tempfile
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import anyio
import anyio.to_thread
import msgspec
from attrs import field, frozen

from openai_runs._arguments import check_count, check_seconds
from openai_runs._slices import in_slices
from openai_runs.errors import FileError
from openai_runs.file_search.chunking import Chunking
from openai_runs.file_search.extraction_worker import Job, Outcome
from openai_runs.file_search.fork_server import Task
from openai_runs.file_search.processes import processes

if TYPE_CHECKING:
    from attrs import Attribute

_MODULE: Final = "openai_runs.file_search.extraction_worker"
_MB: Final = 2**20

_decode_chunk: Final = msgspec.json.Decoder(str).decode
_decode_outcome: Final = msgspec.json.Decoder(Outcome).decode

#: Why a process was ended that has exceeded a limit, or crashed.
_SIGNALS: Final = {
    signal.SIGXCPU: "takes too long to read",
    signal.SIGXFSZ: "has too much text",
}


@frozen(kw_only=True)
class ExtractionLimits:
    """What reading one file may take."""

    memory: int = field(default=1024 * _MB)  #: bytes of address space
    seconds: int = field(default=60)  #: of CPU
    deadline: float = field(default=120.0)  #: seconds until it has ended
    output: int = field(default=256 * _MB)  #: bytes of all chunks, with their overlaps
    processes: int = field(default=2)  #: files that are read at once; the others wait

    @memory.validator
    @seconds.validator
    @output.validator
    @processes.validator
    def _check_count(self, attribute: "Attribute[int]", value: int) -> None:
        check_count(attribute.name, value, least=1)

    @deadline.validator
    def _check_deadline(self, _: object, value: float) -> None:
        check_seconds("deadline", value)


class Extractor:
    """Reads files, a few at a time."""

    def __init__(self, limits: ExtractionLimits) -> None:
        """Limit what one file may take, and how many are read at once."""
        self._limits = limits
        self._turns = anyio.Semaphore(limits.processes)
        self._processes = processes()

    async def chunks(self, content: Path | bytes, filename: str, chunking: Chunking) -> list[str]:
        """The chunks of a file; at least one.

        Args:
            content: The file, or where it is.
            filename: Its name, which decides only between HTML and other text.
            chunking: How its text is cut.

        Raises:
            FileError: It cannot be read.
            OSError: There is no file at this path.
        """
        limits = self._limits
        job = Job(filename, chunking.max_tokens, chunking.overlap, limits.memory, limits.seconds, limits.output)
        task = Task(_MODULE, msgspec.json.encode(job).decode())
        async with self._turns:
            with ExitStack() as files:
                file = await anyio.to_thread.run_sync(_opened, content, files)
                output = files.enter_context(tempfile.TemporaryFile())  # it has no name, and goes with the process
                code = await self._processes.run(task, file, output, deadline=limits.deadline)
                output.seek(0)
                return await in_slices(_reading(output, code))

    async def aclose(self) -> None:
        """End what is kept for the next file."""
        await self._processes.aclose()


def _opened(content: Path | bytes, files: ExitStack) -> IO[bytes]:
    if isinstance(content, Path):
        return files.enter_context(content.open("rb"))
    file = files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  # the stack is the context
    file.write(content)
    file.seek(0)
    return file


def _reading(output: IO[bytes], code: int | None) -> Generator[None, None, list[str]]:
    chunks: list[str] = []
    last = b""
    for line in output:
        if line.endswith(b"\n"):
            chunks.append(_decode_chunk(line))
        last = line
        yield
    if code == 0 and last and not last.endswith(b"\n"):
        outcome = _decode_outcome(last)
        if outcome.code is None:
            return chunks
        raise FileError(outcome.code, outcome.message)  # type: ignore[arg-type]  # the worker has it of a `FileError`
    raise _of_end(code)


def _of_end(code: int | None) -> FileError:
    """The error for a process that did not say how it went."""
    if code is None or code == -signal.SIGKILL:  # the hard limit of CPU time, or the kernel, which lacks memory
        return FileError("invalid_file", "The file takes too long or too much memory to read.")
    if code < 0:
        what = _SIGNALS.get(signal.Signals(-code), "makes the program crash that reads it")
        return FileError("invalid_file", f"The file {what}.")
    return FileError("server_error", "The server could not start the program that reads files, or had no room for it.")
