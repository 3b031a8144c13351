"""The largest file that a server takes: neither memory nor other requests pay for it. ``nox -s crash`` sends 512 MB."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.unmeasured


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, nothing says how much memory a process has had")
def test_the_largest_file():
    """It is accepted, one byte more is a 413, and what was kept comes back whole and goes with its file."""
    command = [sys.executable, "-m", "tests.crash.large", "--megabytes", "40"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "refused: 413" in done.stdout
