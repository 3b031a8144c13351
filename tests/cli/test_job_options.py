"""Options of commands that read a file of jobs."""

import pytest
import typer

from openai_runs.batch.message_template import MessageTemplate
from openai_runs.cli.job_options import parse_message


def test_a_template() -> None:
    """It is optional; one that cannot be read is refused by its option's name."""
    assert parse_message(None) is None
    assert parse_message("Say {text}") == MessageTemplate.parse("Say {text}")
    with pytest.raises(typer.BadParameter, match="--message: "):
        parse_message("{")
