"""The page on errors lists the loggers."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_all_loggers_are_listed():
    """Whoever filters the log finds each name on the page, and no name that nothing logs under."""
    package = (path.read_text("utf-8") for path in (ROOT / "openai_runs").rglob("*.py"))
    used = {name for text in package for name in re.findall(r'getLogger\("(openai_runs\.[\w.]+)"\)', text)}
    page = (ROOT / "docs/how-to/handle-errors.md").read_text("utf-8").split("## Logging")[1]
    assert set(re.findall(r"`(openai_runs\.[\w.]+)`", page)) == used


def test_loggers_have_names_of_rooms():
    """The access log is the exception: it is a log of its own, not what a room says."""
    names = {path.stem.strip("_") for path in (ROOT / "openai_runs").iterdir()} | {"access"}
    page = (ROOT / "docs/how-to/handle-errors.md").read_text("utf-8").split("## Logging")[1]
    assert {name.split(".")[1] for name in re.findall(r"`(openai_runs\.[\w.]+)`", page)} <= names
