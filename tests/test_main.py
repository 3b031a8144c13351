"""``python -m openai_runs``: the command line, without the script that pip installs."""

import subprocess
import sys

from openai_runs import __version__


def test_the_module_is_the_program():
    """It does what ``openai-runs`` does."""
    run = subprocess.run([sys.executable, "-m", "openai_runs", "--version"], capture_output=True, text=True, check=True)
    assert run.stdout == f"openai-runs {__version__}\n"
