"""Output for programs: one object in a line, whatever is in it."""

import json

import pytest

from openai_runs.cli.json_option import print_json


def test_print_json(capsys: pytest.CaptureFixture[str]):
    """Not wrapped, not coloured, no markup."""
    values = [{"text": "[red]x[/]\n☂ " * 50}, {"n": 1.5}]
    for value in values:
        print_json(value)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == values
