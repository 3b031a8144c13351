"""IDs look like the hosted API's."""

import os
import re
import subprocess
import sys

import pytest

from openai_runs.engine.ids import new_id


def test_looks_like_the_api_s():
    """A prefix and 24 characters; no two alike."""
    ids = {new_id("run") for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"run_[0-9A-Za-z]{24}", id) for id in ids)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")
def test_a_forked_process_makes_others():
    """What was drawn before the fork is used by one of the two only."""
    code = (
        "import os; from openai_runs.engine.ids import new_id; new_id('run'); child = os.fork();"
        "child and os.waitpid(child, 0); print(new_id('run'), flush=True)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert len(printed) == len(set(printed)) == 2
