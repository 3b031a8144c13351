"""The top level: what it offers, and what it costs to import."""

import ast
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

#: What only a server, the command line, a batch, a first retry or a first tool needs.
LATE = {
    "aiosqlite",
    "docstring_parser",
    "jsonschema_rs",
    "openai_runs.backends",
    "openai_runs.batch",
    "openai_runs.cli",
    "openai_runs.engine",
    "openai_runs.models.delta",
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
    assert set(names) <= set(dir(openai_runs))


def test_names_are_where_type_checkers_see_them():
    """A name that loads when it is used is the one that the module imports for type checkers."""
    tree = ast.parse(Path(openai_runs.__file__).read_text("utf-8"))
    imported = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == openai_runs._HOMES
    assert set(openai_runs.__all__) == {*imported, "__version__"}


def test_modules_are_attributes():
    """`import openai_runs` is enough to write `openai_runs.errors.RunError`; a misspelt name is an `AttributeError`."""
    code = "import openai_runs as o; print(o.errors.__name__, hasattr(o, 'erors'), 'Run' in dir(o))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["openai_runs.errors", "False", "True"]
    with pytest.raises(AttributeError, match="has no attribute 'Sesion'"):
        openai_runs.Sesion  # type: ignore[attr-defined]  # noqa: B018  # the misspelling is the test


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
    """`Session` loads neither the server nor anything that only a part of the programs needs."""
    code = "import sys, openai_runs; {}; print(*sorted(sys.modules))"
    for use in ("openai_runs", "openai_runs.Session"):
        run = subprocess.run([sys.executable, "-c", code.format(use)], capture_output=True, text=True, check=True)
        loaded = run.stdout.split()
        assert LATE.isdisjoint(loaded)
        assert ("aiohttp" in loaded) == (use == "openai_runs.Session")
