"""The examples of the documents need what ``nox -s examples`` installs; elsewhere these tests are left out."""

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.serving import serving

if find_spec("taskiq") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What `OPENAI_BASE_URL` names: ``openai-runs serve`` with its scripted model."""
    with serving(tmp_path_factory.mktemp("endpoint") / "runs.db") as (url, _):
        yield url
