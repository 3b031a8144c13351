"""The last line of a CI run, from which people and programs read what happened."""

import subprocess
import sys
from pathlib import Path

import pytest

SUMMARY = Path(__file__).parents[1] / ".ci" / "summary.py"


@pytest.mark.parametrize(
    ("exit_code", "reports", "line", "ends_with"),
    [
        (
            0,
            ["tests='5' failures='0' errors='0' skipped='1'", "tests='3' failures='0' errors='0' skipped='0'"],
            (7, 0),
            0,
        ),
        (1, ["tests='5' failures='1' errors='2' skipped='0'"], (2, 3), 1),
        (1, ["tests='5' failures='0' errors='0' skipped='0'"], (5, 1), 1),  # a lint rule was broken
        (2, [], (0, 1), 2),  # nothing could be installed
        (0, [], (0, 1), 1),  # nothing was tested
    ],
)
def test_what_a_run_ends_with(exit_code, reports, line, ends_with, tmp_path):
    """The tests of all sessions; red is never "0 failed", and green is never without a test."""
    for number, attributes in enumerate(reports):
        (tmp_path / f"{number}.xml").write_text(f"<testsuites><testsuite {attributes}/></testsuites>")
    command = [sys.executable, "-S", str(SUMMARY), str(exit_code), str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stdout == f"{line[0]} passed, {line[1]} failed\n"
    assert run.returncode == ends_with
