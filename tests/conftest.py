"""What every test may count on, and what every test is held to."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator

import pytest
import stamina
from hypothesis import settings

settings.register_profile("openai_runs", deadline=None)  # a slow machine is not a failure
settings.load_profile("openai_runs")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The client stands on aiohttp, so asyncio is the only event loop."""
    return "asyncio"


def _tasks() -> set[asyncio.Task[object]]:
    """All tasks but those with which anyio drives tests and fixtures, this one's end among them."""
    return {task for task in asyncio.all_tasks() if not task.get_coro().__qualname__.startswith("TestRunner.")}


@pytest.fixture(autouse=True)
def _no_backoff() -> Iterator[None]:
    """Repeated requests do not wait; how long they would is tested as a value."""
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


@pytest.fixture
async def _no_task_is_left(anyio_backend: str) -> AsyncIterator[None]:
    before = _tasks()
    yield
    if left := _tasks() - before:
        _, left = await asyncio.wait(left, timeout=2)  # those that are ending may end; usually there are none
    assert not left, f"tasks left behind: {left}"


@pytest.fixture(autouse=True)
def _tidy(request: pytest.FixtureRequest) -> None:
    """An asynchronous test leaves no task of its own behind."""
    if "anyio_backend" in request.fixturenames:
        request.getfixturevalue("_no_task_is_left")


@pytest.fixture(autouse=True, scope="module")
def _nothing_unclosed() -> Iterator[None]:
    """A transport or coroutine left open says so when it is collected, and that warning is an error."""
    yield
    gc.collect()
