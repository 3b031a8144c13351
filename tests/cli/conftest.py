"""Commands see no endpoint and no keys of whoever runs the tests."""

import pytest


@pytest.fixture(autouse=True)
def _no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_RUNS_KEYS"):
        monkeypatch.delenv(name, raising=False)
