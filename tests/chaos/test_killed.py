"""A batch goes on while its server is killed; ``nox -s chaos`` kills it more often under more jobs."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.unmeasured


@pytest.mark.timeout(180)
def test_a_killed_server() -> None:
    """Each job has one result, no run is there that its result does not know of or doubt, and none twice."""
    # A process of its own: retries have to wait for the server to be up again.
    command = [sys.executable, "-m", "tests.chaos", "--lifecycles", "0", "--no-cancel", "--kills", "1", "--jobs", "20"]
    chaos = subprocess.run(command, capture_output=True, text=True, check=False)
    assert chaos.returncode == 0, chaos.stdout + chaos.stderr
    assert "completed" in chaos.stdout
