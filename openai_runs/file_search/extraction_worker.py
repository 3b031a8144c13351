"""The process that reads one file: ``python -m openai_runs.file_search.extraction_worker``, which `extraction` starts.

The file is its standard input. The chunks go to its standard output, a JSON string a line; the last line is an object
that says how it went. Before it looks at the file it limits itself: a file that takes more memory, time or output than
that, or that makes the PDF library crash, ends this process and nothing else.
"""

import os
import resource
import signal
import sys
from collections.abc import Sequence
from typing import Any, BinaryIO, Final

import msgspec

from openai_runs.errors import FileError
from openai_runs.file_search.chunking import Chunking, TooManyTokensError, chunks_of
from openai_runs.file_search.formats import text_of, too_much_text

#: The API's limit for a file.
MOST_TOKENS: Final = 5_000_000


class Job(msgspec.Struct, frozen=True):
    """What to do, as JSON in the first argument."""

    filename: str
    max_tokens: int  #: of a chunk
    overlap: int
    memory: int  #: bytes
    seconds: int  #: of CPU
    output: int  #: bytes


class Outcome(msgspec.Struct, frozen=True):
    """The last line: an error, or none."""

    code: str | None = None
    message: str = ""


def limit(job: Job) -> None:
    """Limit this process, for good; what the server does for others comes first."""
    os.nice(10)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it, and a write would fail, also that of the outcome
    for kind, most in (
        (resource.RLIMIT_AS, job.memory),
        (resource.RLIMIT_FSIZE, job.output),
        (resource.RLIMIT_CORE, 0),  # what is in memory is somebody's file
    ):
        resource.setrlimit(kind, (most, most))
    # The hard limit sends SIGKILL, which does not say why.
    resource.setrlimit(resource.RLIMIT_CPU, (job.seconds, job.seconds + 1))


def extract(job: Job, file: BinaryIO, output: BinaryIO) -> None:
    """Write the chunks of a file, and then how it went."""
    encode = msgspec.json.encode
    try:
        text = text_of(file, job.filename)
        chunks = chunks_of(text, Chunking(job.max_tokens, job.overlap), most=MOST_TOKENS)
        output.writelines(encode(chunk) + b"\n" for chunk in chunks)
        outcome = Outcome()
    except FileError as error:
        outcome = Outcome(error.code, error.message)
    except TooManyTokensError:
        outcome = _of(too_much_text())
    except OSError:  # of the output: the disk is full
        outcome = Outcome("server_error", "The server has no room to read the file.")
    except MemoryError:
        outcome = Outcome("invalid_file", "The file takes too much memory to read.")
    except Exception as error:  # whatever a library makes of a strange file; its text is not passed on
        outcome = Outcome("invalid_file", f"The file cannot be read ({type(error).__name__}).")
    output.write(encode(outcome))
    output.flush()


def _of(error: FileError) -> Outcome:
    return Outcome(error.code, error.message)


def main(arguments: Sequence[str], file: BinaryIO, output: BinaryIO, *, limits: Any = limit) -> None:
    """Do the job of the first argument."""
    job = msgspec.json.decode(arguments[0], type=Job)
    limits(job)
    extract(job, file, output)


if __name__ == "__main__":  # pragma: no cover  # it has no environment that would measure it; test_extraction runs it
    main(sys.argv[1:], sys.stdin.buffer, sys.stdout.buffer)
