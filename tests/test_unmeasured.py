"""What is marked as ``unmeasured`` runs without coverage, and nothing else does."""

import os
import subprocess
import sys

import pytest
from coverage import Coverage

from tests.conftest import pytest_runtest_protocol


@pytest.mark.unmeasured
def test_nothing_looks():
    """Neither at such a test nor at the processes that it starts."""
    assert Coverage.current() is None
    assert sys.gettrace() is None
    assert not [name for name in os.environ if name.startswith("COVERAGE_")]
    command = [sys.executable, "-c", "import sys; print(sys.gettrace())"]
    assert subprocess.check_output(command, text=True) == "None\n"


def test_the_next_one_is_looked_at(request: pytest.FixtureRequest):
    """Coverage, where there is any, goes on as before."""
    before = Coverage.current(), type(sys.gettrace()), dict(os.environ)
    request.node.add_marker("unmeasured")
    protocol = pytest_runtest_protocol(request.node)
    next(protocol)
    assert (Coverage.current(), sys.gettrace()) == (None, None)
    protocol.close()
    assert (Coverage.current(), type(sys.gettrace()), dict(os.environ)) == before
