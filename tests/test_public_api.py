"""The top level: what it offers, and what it costs to import."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import openai_runs

MODULES = sorted(
    name for _, name, _ in pkgutil.walk_packages(openai_runs.__path__, "openai_runs.") if not name.endswith("__main__")
)

#: What only a server, the command line, a first retry or a first tool needs.
LATE = {
    "aiosqlite",
    "docstring_parser",
    "jsonschema_rs",
    "openai_runs.backends",
    "openai_runs.cli",
    "openai_runs.engine",
    "openai_runs.server",
    "openai_runs.stores",
    "rich",
    "stamina",
    "typer",
}


def test_all_is_sorted_and_complete():
    """`openai_runs.__all__` reads as a table of contents, and nothing public is missing from it."""
    names = getattr(openai_runs, "__all__", [])
    assert list(names) == sorted(set(names))
    for name in names:
        assert getattr(openai_runs, name) is not None
    public = {
        name
        for name, value in vars(openai_runs).items()
        if not name.startswith("_") and not isinstance(value, type(sys))
    }
    assert public <= set(names)


def test_the_changelog_knows_this_version():
    """Whoever reads `__version__` finds what is in it."""
    changelog = Path(__file__).parents[1] / "docs" / "changelog.md"
    assert f"\n## [{openai_runs.__version__}] - " in changelog.read_text("utf-8")


@pytest.mark.parametrize("name", MODULES)
def test_every_module_keeps_its_word(name):
    """What a module lists in `__all__` is there, and sorted."""
    module = importlib.import_module(name)
    names = list(getattr(module, "__all__", []))
    assert names == sorted(set(names))
    for public in names:
        assert hasattr(module, public)


def test_import_is_cheap():
    """`import openai_runs` loads neither the server nor anything that only a part of the programs needs."""
    code = "import sys, openai_runs; print(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert LATE.isdisjoint(run.stdout.split())
