"""`only_one`: of two that want a lock, one is refused; and a lock is free when its holder is done."""

from pathlib import Path

import pytest

from openai_runs.batch.durable.file_lock import only_one


def test_two(tmp_path: Path):
    """The second one is told which file says so; afterwards the lock is free."""
    path = str(tmp_path / "lock")
    with only_one(path), pytest.raises(RuntimeError, match=path), only_one(path):
        pass
    with only_one(path):
        pass
