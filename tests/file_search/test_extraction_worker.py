"""The process that reads one file: what it says, and how it limits itself."""

import errno
import io
import os
import resource
import signal

import msgspec
import pytest

from openai_runs.file_search import extraction_worker
from openai_runs.file_search.extraction_worker import Job, Outcome, extract, limit, main

JOB = Job("a.txt", max_tokens=100, overlap=0, memory=2**30, seconds=5, output=2**20)


def run(data, job=JOB):
    output = io.BytesIO()
    extract(job, io.BytesIO(data), output)
    *chunks, outcome = output.getvalue().split(b"\n")
    return [msgspec.json.decode(chunk) for chunk in chunks], msgspec.json.decode(outcome, type=Outcome)


def test_chunks_and_an_outcome():
    """A line for each chunk, and the last line says that all went well."""
    chunks, outcome = run(b"word " * 150)
    assert [len(chunk.split()) for chunk in chunks] == [100, 50]
    assert outcome == Outcome()


def test_a_file_that_is_refused():
    """The error comes with its code, and without chunks."""
    assert run(b"") == ([], Outcome("invalid_file", run(b"")[1].message))
    assert run(b"PK\x03\x04\x00")[1].code == "unsupported_file"


def test_too_many_tokens(monkeypatch):
    """The API's limit holds for every kind of file."""
    monkeypatch.setattr(extraction_worker, "MOST_TOKENS", 10)
    assert run(b"word " * 11)[1] == Outcome("invalid_file", "The file has too much text: more than 5,000,000 tokens.")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "The file takes too much memory to read."),
        (ZeroDivisionError("secret"), "The file cannot be read (ZeroDivisionError)."),
    ],
)
def test_other_failures(monkeypatch, error, message):
    """Whatever is raised is the file's fault, and its text is not passed on."""

    def fail(file, filename):
        raise error

    monkeypatch.setattr(extraction_worker, "text_of", fail)
    assert run(b"x") == ([], Outcome("invalid_file", message))


class FullDisk(io.BytesIO):
    """Takes what is short."""

    def writelines(self, lines):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk():
    """It is not the file's fault; where even the outcome finds no room, the process fails, which says the same."""
    output = FullDisk()
    extract(JOB, io.BytesIO(b"word"), output)
    assert msgspec.json.decode(output.getvalue())["code"] == "server_error"


def test_the_job_comes_as_json():
    """Limits first, then the file."""
    output, limited = io.BytesIO(), []
    main([msgspec.json.encode(JOB).decode()], io.BytesIO(b"word"), output, limits=limited.append)
    assert limited == [JOB]
    assert output.getvalue() == b'"word"\n{"code":null,"message":""}'


def test_limits(monkeypatch):
    """Memory, time and output are limited, and nothing of the file is left in a core dump."""
    limits, handlers, niceness = {}, {}, []
    monkeypatch.setattr(os, "nice", niceness.append)
    monkeypatch.setattr(resource, "setrlimit", limits.__setitem__)
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    limit(JOB)
    assert limits == {
        resource.RLIMIT_AS: (2**30, 2**30),
        resource.RLIMIT_FSIZE: (2**20, 2**20),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_CPU: (5, 6),
    }
    assert handlers == {signal.SIGXFSZ: signal.SIG_DFL}
    assert niceness == [10]
