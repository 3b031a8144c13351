"""`ResultFile`: results as JSON lines, appended as jobs end; and which jobs a file has results of.

A line is written at once, so a killed process loses none, and at most the last one is torn. The file is synchronized
with the disk when it is closed: if the power fails before, lines of the last half minute may be missing, and their jobs
are run again.
"""

import hashlib
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, NamedTuple

from attrs import define, field

from openai_runs import _wire
from openai_runs.batch.earlier_runs import EarlierRun, EarlierRuns, RunIds
from openai_runs.batch.jobs import BatchResult, RunJob, fingerprint
from openai_runs.errors import ProtocolError

#: How each line begins. A file that begins otherwise was not written here, and is left alone.
_BEGINNING: Final = b'{"key":"'
#: The length of a batch's ID, in characters.
_ID_LENGTH: Final = 32


@define(eq=False)
class ResultFile:
    """An open file of results."""

    done: frozenset[str]  #: the keys of the jobs that it had results of when it was opened
    failed: frozenset[str]  #: of these, the jobs that have failed
    _path: Path
    _fingerprints: Mapping[str, str]  # of the jobs that it had results of, as far as their lines tell
    _file: FileIO
    _batch: "_BatchId"
    _earlier: EarlierRuns

    def lacks(self, job: RunJob) -> bool:
        """Whether the file had no result of a job, which has a key, when it was opened.

        Raises:
            ValueError: It has one of a job with this key that asked for something else.
        """
        key = job["key"]
        if key not in self.done:
            return True
        before = self._fingerprints.get(key)
        if before is None or before == fingerprint(job):
            return False
        if key in self.failed:
            raise ValueError(
                f"job {key!r} has failed with another message, assistant or parameter, as {self._path} says: "
                "--retry-failed runs it again; or write to another file"
            )
        raise ValueError(
            f"{self._path} has the answer of job {key!r} to another message, assistant or parameter: write to another "
            "file, or remove the job's line there, or all lines, to have it run again"
        )

    def write(self, result: BatchResult) -> None:
        """Append a result.

        Raises:
            OSError: The disk is full, say. A torn line is removed when the file is opened the next time.
        """
        rest = memoryview(result_line(result))
        while rest:
            rest = rest[self._file.write(rest) :]
        self._earlier.drop((result.key,))

    def earlier_run(self, job: RunJob) -> RunIds | None:
        """The run of a job whose failure was removed, if it had one: it may have completed since."""
        return self._earlier.get(job["key"], fingerprint(job))

    def idempotency_key(self, job: RunJob) -> str:
        """The idempotency key of a job: the same one in all processes until one calls `settle`.

        So the process after a killed one gets the runs that were in progress, where the endpoint honours such keys.
        """
        self._batch.is_settled = False
        named = f"{self._batch.id} {fingerprint(job)} {job['key']}"
        return hashlib.sha256(named.encode("utf-8", "surrogatepass")).hexdigest()

    def settle(self) -> None:
        """Note that a later process has nothing to take over: all jobs have results, or their runs were cancelled."""
        self._batch.is_settled = True


@contextmanager
def open_results(path: Path, *, retry_failed: bool = False) -> Generator[ResultFile]:
    """Open a file of results, to append to it; it is created if it does not exist.

    One that was created and has nothing in it is removed again if an exception ends the context, unless jobs were
    started, whose runs the next process may take over.

    A file of the same name with ``.batch`` at its end keeps other processes away, and has what idempotency keys are
    made of. It is removed when there is nothing for the next process to take over, and stays otherwise. One with
    ``.runs`` at its end has the runs of jobs whose failures were removed, until these have results.

    Args:
        path: The file.
        retry_failed: Whether to remove the results of jobs that have failed, so that they are run again.

    Raises:
        OSError: The file cannot be read or written.
        ValueError: It has a line that is no result, or another process writes to it. It was not changed.
    """
    with _open_batch(path) as batch:
        earlier = EarlierRuns.load(path.with_name(f"{path.name}.runs"))
        survey = _survey(path)
        if survey.is_new:
            batch.renew()  # with the keys of a batch whose results were deleted, it would get the same ones
            earlier.clear()
        if survey.failed and retry_failed:
            batch.renew()  # likewise
            earlier.add(survey.runs)  # first: whoever dies in between has both
            _remove_failed(path)
            survey = _survey(path)
        earlier.drop(survey.done)
        try:
            with path.open("ab", buffering=0) as file:
                file.truncate(survey.size)
                if survey.lacks_newline:
                    file.write(b"\n")
                try:
                    done, failed = frozenset(survey.done), frozenset(survey.failed)
                    yield ResultFile(done, failed, path, survey.fingerprints, file, batch, earlier)
                finally:
                    os.fsync(file.fileno())
        except BaseException:
            # Where runs may be taken over it stays: without it, the next process would begin a new batch.
            with suppress(FileNotFoundError):  # somebody else has removed it
                if survey.is_new and batch.is_settled and not path.stat().st_size:
                    path.unlink()
            raise
        finally:
            earlier.close()


def result_line(result: BatchResult) -> bytes:
    """A result as a line of JSON."""
    row = result.row()
    text = _wire.encode_plain(
        {
            "key": row["key"],
            "status": row["status"],
            "text": row["text"],
            "usage": None
            if result.usage is None
            else {
                "prompt_tokens": row["prompt_tokens"],
                "completion_tokens": row["completion_tokens"],
                "total_tokens": row["total_tokens"],
            },
            "attempts": row["attempts"],
            "error": None
            if result.error is None
            else {"type": row["error"], "message": row["error_message"], "maybe_done": row["maybe_done"]},
            "run_id": row["run_id"],
            "thread_id": row["thread_id"],
            "started_at": row["started_at"] and row["started_at"].isoformat(timespec="milliseconds"),
            "ended_at": row["ended_at"] and row["ended_at"].isoformat(timespec="milliseconds"),
            "fingerprint": fingerprint(result.job),
        }
    )
    return text + b"\n"


@define
class _Survey:
    """What is in a file."""

    is_new: bool = False
    done: set[str] = field(factory=set)
    failed: set[str] = field(factory=set)
    fingerprints: dict[str, str] = field(factory=dict)
    runs: dict[str, EarlierRun] = field(factory=dict)  # of those that have failed
    size: int = 0  # in bytes, without a torn line at the end
    lacks_newline: bool = False


def _survey(path: Path) -> _Survey:
    """Look through a file."""
    if not path.exists():
        return _Survey(is_new=True)
    if not path.is_file():
        raise ValueError(f"{path} is no file: the results have to be read again when the batch goes on")
    survey = _Survey()
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            facts = _facts(line)
            survey.lacks_newline = not line.endswith(b"\n")
            if facts is None:
                if survey.lacks_newline and _is_torn(line):
                    survey.lacks_newline = False
                    break
                raise ValueError(
                    f"line {number} of {path} is no result: results are appended only to a file that has nothing else"
                )
            survey.size += len(line)
            survey.done.add(facts.key)
            if facts.fingerprint is not None:
                survey.fingerprints[facts.key] = facts.fingerprint
            if facts.has_failed:
                survey.failed.add(facts.key)
            if facts.has_failed and facts.run is not None:
                survey.runs[facts.key] = facts.run, facts.fingerprint
    return survey


class _Facts(NamedTuple):
    """What a line says of a job."""

    key: str
    has_failed: bool
    run: RunIds | None  # if it has one
    fingerprint: str | None  # if an earlier version has not left it out


def _facts(line: bytes) -> _Facts | None:
    """What a line says; ``None`` if it is no result."""
    match _value(line):
        case {"key": str(key), "status": "completed" | "failed" as status, **others}:
            made_of = others.get("fingerprint")
            return _Facts(key, status == "failed", _run(others), made_of if isinstance(made_of, str) else None)
    return None


def _run(fields: Mapping[Any, object]) -> RunIds | None:
    match fields:
        case {"thread_id": str(thread_id), "run_id": str(run_id)}:
            return thread_id, run_id
    return None


def _value(line: bytes) -> Any:
    """A line's JSON; ``None`` if it is none."""
    try:
        return _wire.decode(line)
    except ProtocolError:
        return None


def _is_torn(line: bytes) -> bool:
    """Whether this is the beginning of a line, or what a file system has put in its place when the power failed."""
    begins_like_ours = line.startswith(_BEGINNING) or _BEGINNING.startswith(line)
    return not line.strip(b"\0") or (begins_like_ours and _value(line) is None)


def _remove_failed(path: Path) -> None:
    """Rewrite a file without the results of failed jobs and a torn line: all of that, or nothing."""
    new = path.with_name(f"{path.name}.new")
    with path.open("rb") as old, new.open("wb") as file:
        for line in old:
            if (facts := _facts(line)) is not None and not facts.has_failed:
                file.write(line.removesuffix(b"\n") + b"\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


@define
class _BatchId:
    """What the idempotency keys of a batch are made of, in a file that holds a lock."""

    _file: FileIO
    id: str = ""
    is_settled: bool = True  # whether the next process has nothing to take over

    def load(self) -> None:
        """Take the ID that another process has left, or a new one."""
        self.id = self._file.read().decode("ascii", "replace")
        self.is_settled = len(self.id) != _ID_LENGTH
        if self.is_settled:
            self.renew()

    def renew(self) -> None:
        """Take a new one."""
        self.id = token_hex(_ID_LENGTH // 2)
        self.is_settled = True
        self._file.truncate(0)
        self._file.write(self.id.encode())
        os.fsync(self._file.fileno())


@contextmanager
def _open_batch(results: Path) -> Generator[_BatchId]:
    path = results.with_name(f"{results.name}.batch")
    with path.open("a+b", buffering=0) as file:
        with suppress(ImportError):  # Windows has no such locks
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(
                    f"another process writes to {results}: wait for its end, or write to another file"
                ) from None
        file.seek(0)
        batch = _BatchId(file)
        try:
            batch.load()
            yield batch
        finally:
            if batch.is_settled:
                path.unlink()
