"""`distributions`, which ``nox -s build`` runs: whether the list in it is still that of the tree."""

from pathlib import Path

import pytest

from tests.distributions import BESIDES, PACKAGE

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("path", [*PACKAGE, *BESIDES])
def test_each_listed_file_exists(path: str):
    """A file that moves is followed in the list: plain ``nox`` notices, not only a build before a release."""
    assert (ROOT / path).is_file()


def test_all_data_of_the_package_is_listed():
    """A file that is no Python would be missing in the wheel without anybody noticing."""
    data = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "openai_runs").rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    }
    assert data <= set(PACKAGE)
