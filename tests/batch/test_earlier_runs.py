"""`EarlierRuns`: the runs of failed jobs, in a file until their jobs have results."""

from pathlib import Path

import pytest

from openai_runs.batch.earlier_runs import EarlierRuns


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl.runs"


def test_they_are_on_the_disk_at_once(path: Path) -> None:
    """What one process adds, the next one has, also if nothing was closed; the latest run of a job counts."""
    runs = EarlierRuns.load(path)
    runs.add({"a": (("thread_1", "run_1"), None), "b": (("thread_1", "run_2"), None)})
    runs.add({"b": (("thread_1", "run_3"), "f")})
    again = EarlierRuns.load(path)
    assert [again.get(key, "f") for key in "abc"] == [("thread_1", "run_1"), ("thread_1", "run_3"), None]


def test_a_job_that_has_changed(path: Path) -> None:
    """It does not get the run of what it was, if that is known."""
    runs = EarlierRuns.load(path)
    runs.add({"a": (("thread_1", "run_1"), "f"), "b": (("thread_1", "run_2"), None)})
    again = EarlierRuns.load(path)
    assert [again.get(key, "other") for key in "ab"] == [None, ("thread_1", "run_2")]


def test_the_file_is_removed_when_nothing_is_left(path: Path) -> None:
    """Not earlier, and there need not be one."""
    EarlierRuns.load(path).close()
    runs = EarlierRuns.load(path)
    runs.add({"a": (("thread_1", "run_1"), "f"), "b": (("thread_1", "run_2"), "f")})
    runs.drop(["a", "other"])
    runs.close()
    assert path.exists()
    runs.clear()
    runs.close()
    assert not path.exists()


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"key": "a", "run_id": 1, "thread_id": "b"}'])
def test_another_file(path: Path, text: str) -> None:
    """It is left alone."""
    path.write_text(text)
    with pytest.raises(ValueError, match="does not have the runs of failed jobs"):
        EarlierRuns.load(path)
    assert path.read_text() == text
