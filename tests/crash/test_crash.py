"""What survives `kill -9`."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.unmeasured


@pytest.mark.timeout(180)
def test_nothing_is_lost_and_nothing_done_twice():
    """Killed at any moment, every run reaches its end, and its messages, steps and tool calls are there once."""
    # A process of its own: between attempts to reach a server that is being started again, it has to wait.
    command = [sys.executable, "-m", "tests.crash", "--kills", "4", "--active", "20", "--seed", "7"]
    torture = subprocess.run(command, capture_output=True, text=True, check=False)
    assert torture.returncode == 0, torture.stdout + torture.stderr
    assert "completed" in torture.stdout
