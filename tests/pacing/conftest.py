"""These tests have their own clock, so that whatever waits may wait."""

from typing import Any

import pytest

from tests.pacing.clock import ClockLoop


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": ClockLoop}


@pytest.fixture(autouse=True)
def _no_pauses() -> None:
    """Pauses after refusals are tested here."""
