"""`--audit-log`."""

from pathlib import Path

import pytest
import typer

from openai_runs.cli.audit_option import make_audit_log


def test_a_name(tmp_path: Path):
    """A file, or a hyphen for standard output; one that cannot be written is an error."""
    assert "audit.jsonl" in repr(make_audit_log(str(tmp_path / "audit.jsonl")))
    assert "standard output" in repr(make_audit_log("-"))
    with pytest.raises(typer.BadParameter, match=r"--audit-log: .*No such file"):
        make_audit_log(str(tmp_path / "none" / "audit.jsonl"))
