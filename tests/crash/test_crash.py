"""What survives `kill -9`."""

from pathlib import Path

import pytest

from tests.crash.torture import Server, Torture

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]


async def test_nothing_is_lost_and_nothing_done_twice(tmp_path: Path):
    """Killed at any moment, every run reaches its end with its messages, steps and tool calls there once."""
    torture = Torture(Server(tmp_path / "runs.db"), kills=4, active=20, seed=7)
    await torture.run()
    assert torture.faults == []
    assert set(torture.ended) == {"completed"}
    assert torture.ended.total() >= 20
