"""Finding a toolbox by its name."""

import sys
from pathlib import Path

import pytest
import typer

from openai_runs.cli.toolbox_option import load_toolbox
from openai_runs.toolbox import Toolbox


@pytest.fixture(autouse=True)
def _own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    monkeypatch.chdir(tmp_path)


def test_a_module_of_this_folder(tmp_path: Path) -> None:
    """The program is installed elsewhere, and still finds the modules of the current folder, more than once."""
    (tmp_path / "tools_of_a_test.py").write_text("import openai_runs\ntoolbox = openai_runs.Toolbox()\n")
    toolbox = load_toolbox("tools_of_a_test:toolbox")
    assert isinstance(toolbox, Toolbox)
    assert load_toolbox("tools_of_a_test:toolbox") is toolbox
    assert sys.path.count(str(tmp_path)) == 1


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("no_such_module:toolbox", "No module named 'no_such_module'"),
        ("json:toolbox", "no attribute 'toolbox'"),
        ("json", "as json:toolbox: got 'json'"),
        (":tools", "as myapp.tools:tools: got"),
        ("", "as myapp.tools:toolbox: got ''"),
        (".tools:toolbox", "there is no .tools:toolbox"),
        ("json:loads", "json:loads is no Toolbox"),
    ],
)
def test_no_toolbox(place: str, problem: str) -> None:
    """The error says what is there instead."""
    with pytest.raises(typer.BadParameter, match=problem):
        load_toolbox(place)
