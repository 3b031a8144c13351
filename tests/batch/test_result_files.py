"""`ResultFile`: results as JSON lines; what a killed process leaves behind."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from openai_runs.batch.jobs import BatchResult, RunJob, fingerprint
from openai_runs.batch.result_files import open_results, result_line
from openai_runs.errors import TransportError
from openai_runs.models.run import Run, RunStatus, Usage

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
RUN = Run(id="run_1", created_at=NOON, thread_id="thread_1", assistant_id="asst_1", status=RunStatus.COMPLETED)


JOB = RunJob(assistant_id="asst_1")
FINGERPRINT = fingerprint(JOB)


def job(key: str, **parameters: Any) -> RunJob:
    return cast(RunJob, {**JOB, "key": key, **parameters})


def completed(key: str) -> BatchResult:
    return BatchResult(0, {"assistant_id": "asst_1"}, RUN, key=key)


def lost(key: str) -> BatchResult:
    return BatchResult(0, {"assistant_id": "asst_1"}, RUN, TransportError("no answer"), key=key)


def failed(key: str) -> BatchResult:
    return BatchResult(0, {"assistant_id": "asst_1"}, None, TransportError("no answer"), key=key)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def keys(path: Path) -> list[str]:
    return [json.loads(line)["key"] for line in path.read_bytes().splitlines()]


def test_a_line_has_all_that_is_known() -> None:
    """A completed job, and one whose run could not be started; both have the same fields."""
    result = BatchResult(
        3,
        {"assistant_id": "asst_1"},
        RUN,
        key="ä",
        text="Two\nlines",
        usage=Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3),
        attempts=2,
        started_at=NOON,
        ended_at=NOON,
    )
    line = result_line(result)
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "key": "ä",
        "status": "completed",
        "text": "Two\nlines",
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
        "attempts": 2,
        "error": None,
        "run_id": "run_1",
        "thread_id": "thread_1",
        "started_at": "2026-05-01T12:00:00.000+00:00",
        "ended_at": "2026-05-01T12:00:00.000+00:00",
        "fingerprint": FINGERPRINT,
    }
    job = {"assistant_id": "asst_1", "thread_id": "thread_2"}
    assert json.loads(result_line(BatchResult(0, job, None, TransportError("no answer"), key="b"))) == {
        "key": "b",
        "status": "failed",
        "text": None,
        "usage": None,
        "attempts": 0,
        "error": {"type": "TransportError", "message": "no answer", "maybe_done": True},
        "run_id": None,
        "thread_id": "thread_2",
        "started_at": None,
        "ended_at": None,
        "fingerprint": fingerprint(job),
    }


def test_it_goes_on_where_it_was(path: Path) -> None:
    """Opened again, it knows the keys that it has, and lines are appended."""
    with open_results(path) as results:
        assert results.done == set()
        results.write(completed("a"))
        results.write(failed("b"))
    with open_results(path) as results:
        assert (results.done, results.failed) == ({"a", "b"}, {"b"})
        results.write(completed("c"))
    assert keys(path) == ["a", "b", "c"]


@pytest.mark.parametrize("size", [1, 5, 8, 60])
def test_a_torn_line_is_removed(path: Path, size: int) -> None:
    """What a killed process has written of its last line is cut off, and its job is run again."""
    whole = result_line(completed("a"))
    path.write_bytes(whole + result_line(completed("b"))[:size])
    with open_results(path) as results:
        assert results.done == {"a"}
        assert path.read_bytes() == whole


def test_what_a_power_failure_leaves(path: Path) -> None:
    """File systems may put zeros where nothing was written yet."""
    whole = result_line(completed("a"))
    path.write_bytes(whole + bytes(100))
    with open_results(path) as results:
        assert results.done == {"a"}
    assert path.read_bytes() == whole


def test_a_whole_line_without_its_end_is_kept(path: Path) -> None:
    """A result without a line feed, as an editor may leave it, is a result."""
    path.write_bytes(result_line(completed("a"))[:-1])
    with open_results(path) as results:
        assert results.done == {"a"}
        results.write(completed("b"))
    assert keys(path) == ["a", "b"]


@pytest.mark.parametrize(
    "content",
    ["hello", '{"key": "a", "message": "x"}', '{"key":"a","message":"x"}', "\n", "[]\n", '{"key":"a"}\n', "{}"],
)
def test_another_file_is_left_alone(path: Path, content: str) -> None:
    """A file that has something else is not changed, nor is anything left beside it."""
    before = result_line(completed("z")).decode() + content
    path.write_text(before)
    with pytest.raises(ValueError, match=r"line 2 of .*results.jsonl is no result"), open_results(path):
        pass
    assert path.read_text() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """The file is read again when the batch goes on, so a device or a folder is refused."""
    (tmp_path / "results").mkdir()
    with pytest.raises(ValueError, match="is no file"), open_results(tmp_path / "results"):
        pass


def test_failed_jobs_are_run_again_if_wanted(path: Path) -> None:
    """Their results are removed, and with them what a killed process has left."""
    with open_results(path) as results:
        results.write(failed("a"))
        results.write(completed("b"))
        results.write(failed("c"))
    with path.open("ab") as file:
        file.write(b'{"key":"d')
    with open_results(path, retry_failed=True) as results:
        assert results.done == {"b"}
        assert keys(path) == ["b"]
        results.write(completed("a"))
    with open_results(path, retry_failed=True) as results:
        assert results.done == {"a", "b"}
    assert keys(path) == ["b", "a"]
    assert list(path.parent.iterdir()) == [path]


def test_one_process_writes(path: Path) -> None:
    """A second one is refused, and does not disturb the first."""
    with open_results(path) as results:
        with pytest.raises(ValueError, match="another process writes to"), open_results(path):
            pass
        results.write(completed("a"))
    with open_results(path) as results:
        assert results.done == {"a"}


def test_nothing_comes_of_it(path: Path) -> None:
    """A file that is new and empty when something goes wrong is not left behind; one that was there is."""
    with pytest.raises(OSError, match="no store"), open_results(path):
        raise OSError("no store")
    assert list(path.parent.iterdir()) == []
    path.touch()
    with pytest.raises(OSError, match="no store"), open_results(path):
        raise OSError("no store")
    with open_results(other := path.with_name("other.jsonl")):
        pass
    assert sorted(path.parent.iterdir()) == sorted([path, other])


def test_something_goes_wrong_later(path: Path) -> None:
    """What has been written stays, and so does an empty file whose jobs were started: the next process takes them
    over."""

    def fail(*, writes: bool) -> None:
        with open_results(path) as results:
            if writes:
                results.write(completed("a"))
            else:
                results.idempotency_key(job("a"))
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail(writes=True)
    assert keys(path) == ["a"]
    path.unlink()
    with pytest.raises(OSError, match="full"):
        fail(writes=False)
    assert path.read_bytes() == b""
    left = path.with_name("results.jsonl.batch").read_bytes()
    begun(path)
    assert path.with_name("results.jsonl.batch").read_bytes() == left


def test_somebody_removes_the_file_meanwhile(path: Path) -> None:
    """What went wrong is still what is raised."""

    def fail() -> None:
        with open_results(path):
            path.unlink()
            raise OSError("no store")

    with pytest.raises(OSError, match="no store"):
        fail()


def begun(path: Path, *, settle: bool = False, retry_failed: bool = False) -> str:
    """Open a file and start a job; its idempotency key."""
    with open_results(path, retry_failed=retry_failed) as results:
        key = results.idempotency_key(job("a"))
        if settle:
            results.settle()
        return key


def test_idempotency_keys_outlive_the_process(path: Path) -> None:
    """The process after a killed or stopped one makes the same keys, until nothing is left to take over."""
    key = begun(path)
    assert begun(path) == key
    with open_results(path) as results:  # which starts nothing, so nothing changes
        assert results.idempotency_key(job("a")) != results.idempotency_key(job("b"))
    with open_results(path):
        pass
    assert begun(path, settle=True) == key
    assert not path.with_name("results.jsonl.batch").exists()
    assert begun(path) != key


def test_idempotency_keys_of_a_new_beginning(path: Path) -> None:
    """Whoever deletes the results, or wants failed jobs again, gets other runs; so do those whose ID was torn."""
    key = begun(path)
    path.unlink()
    other = begun(path)
    assert other != key
    with open_results(path) as results:
        results.write(failed("a"))
    assert begun(path) == other
    newer = begun(path, retry_failed=True)
    assert newer != other
    path.with_name("results.jsonl.batch").write_text("torn")
    assert begun(path) != newer


class TestJobsThatHaveChanged:
    """A result is not passed off as that of another job which has the key of the one that it is of."""

    def test_their_results(self, path: Path) -> None:
        """The same job is left out, whatever the order of its parameters; another one is refused, with what to do."""
        with open_results(path) as results:
            results.write(completed("a"))
            results.write(failed("b"))
        with open_results(path) as results:
            assert not results.lacks(job("a"))
            assert not results.lacks(job("a", idempotency_key="mine", earlier_run=("t", "r"), completion_window="8h"))
            assert not results.lacks(job("b"))
            assert results.lacks(job("c", instructions="Be brief."))
            with pytest.raises(ValueError, match=r"results\.jsonl has the answer of job 'a' to another message"):
                results.lacks(job("a", instructions="Be brief."))
            with pytest.raises(
                ValueError, match=r"job 'b' has failed with another message, .*: --retry-failed runs it"
            ):
                results.lacks(job("b", assistant_id="asst_2"))

    def test_lines_that_do_not_tell(self, path: Path) -> None:
        """Those of an earlier version have no fingerprint, and an odd one is none."""
        path.write_text('{"key":"a","status":"completed"}\n{"key":"b","status":"completed","fingerprint":1}\n')
        with open_results(path) as results:
            assert not results.lacks(job("a", instructions="Be brief."))
            assert not results.lacks(job("b", instructions="Be brief."))

    def test_their_runs(self, path: Path) -> None:
        """A failed job that has changed gets neither the run nor the idempotency key of what it was."""
        with open_results(path) as results:
            results.write(lost("a"))
        with open_results(path, retry_failed=True) as results:
            assert results.earlier_run(job("a")) == ("thread_1", "run_1")
            assert results.earlier_run(job("a", instructions="Be brief.")) is None
            keys = {results.idempotency_key(job("a", **changed)) for changed in ({}, {"instructions": "Be brief."})}
            assert len(keys) == 2


class TestRunsOfFailedJobs:
    """When their failures are removed, their runs are kept: they may have completed since."""

    IDS = ("thread_1", "run_1")

    def test_until_there_is_a_result(self, path: Path) -> None:
        """They outlive processes that are killed, also one that is started without the option."""
        with open_results(path) as results:
            for result in (lost("a"), lost("b"), failed("c"), completed("d")):
                results.write(result)
        with open_results(path, retry_failed=True) as results:
            assert [results.earlier_run(job(key)) for key in "abcd"] == [self.IDS, self.IDS, None, None]
            results.write(completed("a"))
        with open_results(path) as results:
            assert [results.earlier_run(job(key)) for key in "ab"] == [None, self.IDS]
            results.write(completed("b"))
        assert list(path.parent.iterdir()) == [path]

    def test_when_they_fail_again(self, path: Path) -> None:
        """A line keeps the run that could not be looked at, for the next time."""
        job = {"assistant_id": "asst_1", "thread_id": "other", "earlier_run": self.IDS}
        with open_results(path) as results:
            results.write(BatchResult(0, job, None, TransportError("no answer"), key="a"))
        with open_results(path, retry_failed=True) as results:
            assert results.earlier_run({**job, "key": "a"}) == self.IDS

    def test_of_a_file_that_is_gone(self, path: Path) -> None:
        """Whoever removes the results begins anew."""
        with open_results(path) as results:
            results.write(lost("a"))
        with open_results(path, retry_failed=True):
            pass
        path.unlink()
        with open_results(path) as results:
            assert results.earlier_run(job("a")) is None
        assert list(path.parent.iterdir()) == [path]
