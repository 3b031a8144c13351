"""What servers that share a store promise; `python -m tests.replicas` harms them more often, under more runs."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.unmeasured


@pytest.mark.timeout(240)
def test_a_rolling_restart():
    """Each run is executed to one end, and the others go on with those of a server that is gone."""
    command = [sys.executable, "-m", "tests.replicas", "--fault", "rolling"]
    command += ["--rounds", "1", "--runs", "8", "--seed", "9"]
    trial = subprocess.run(command, capture_output=True, text=True, check=False)
    assert trial.returncode == 0, trial.stdout + trial.stderr
    assert "ended and started each" in trial.stdout
