"""The table of options of `openai-runs serve` is that of the command."""

import re
from pathlib import Path

from docs.write_options import table
from tests.cli.commands import run

PAGE = Path(__file__).parents[2] / "docs/reference/command-line.md"


def test_all_options_are_in_the_table():
    """Each option and each variable that `--help` has is in the table, and nothing else is."""
    shown = re.sub(r"\s+", "", run("serve", "--help"))
    cells = [[cell.strip().strip("`") for cell in row.split(" | ")] for row in table().splitlines()[2:]]
    variables = {variable for _, variable, *_ in cells}
    assert variables == {*re.findall(r"\[envvar:(\w+?)(?=[;\]])", shown)} - {"OPENAI_RUNS_CONFIG"}
    assert all(option.strip("| `") in shown for option, *_ in cells)
    assert len(variables) == len(cells) > 25


def test_a_row():
    """It says what `--help` says."""
    rows = table().splitlines()
    port = "| `--port` | `OPENAI_RUNS_PORT` | an integer | `8080` | The port to listen on; 0 picks a free one. |"
    assert port in rows
    assert any(row.startswith("| `--console` | `OPENAI_RUNS_CONSOLE` | true or false | `true` |") for row in rows)
    assert any(row.startswith("| `--files` | `OPENAI_RUNS_FILES` | `local`, `endpoint`, `unread` |  |") for row in rows)


def test_the_page_has_the_table():
    """It is written when the pages are built."""
    assert "{include} ../_build/options.md" in PAGE.read_text("utf-8")
