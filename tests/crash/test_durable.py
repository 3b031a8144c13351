"""What a durable batch promises to a program that is killed; ``nox -s crash`` kills it more often under more jobs."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.unmeasured


@pytest.mark.timeout(180)
def test_a_killed_program():
    """Each job has one result and one run, and the server has the output of the latest call of each tool call."""
    # A process of its own: it has to wait for the programs that it kills.
    command = [sys.executable, "-m", "tests.crash.durable", "--kills", "1", "--jobs", "12", "--seed", "3"]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == 0, killed.stdout + killed.stderr
    assert "'kills': 1" in killed.stdout
