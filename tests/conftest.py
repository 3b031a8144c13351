"""What every test may count on, and what every test is held to."""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import stamina
from aiohttp import web_app
from coverage import Coverage
from hypothesis import settings

from openai_runs._wire.idempotency import SUPPORTED
from openai_runs.backends.scripted import ScriptedBackend
from openai_runs.models.assistant import Assistant
from openai_runs.models.thread import Thread
from openai_runs.pacing.pace import Pace
from openai_runs.server import LocalServer, plain_response
from openai_runs.server.plain_response import OWN_HEADERS
from openai_runs.session import Session
from openai_runs.toolbox import Toolbox
from tests.weather import WEATHER

if TYPE_CHECKING:
    from tests.postgres import Postgres

# A slow machine is not a failure: no deadline. What gates a change looks at the same examples each time, so that it
# refuses no innocent one; who looks for defects takes the other profile, which looks elsewhere each time.
settings.register_profile("quick", deadline=None, max_examples=25, derandomize=True)
settings.register_profile("brief", settings.get_profile("quick"), max_examples=8)  # where another Python looks, too
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.load_profile("quick")  # unless there is --hypothesis-profile=thorough


def pytest_configure() -> None:
    """Ctrl-C is not ignored, as it is in what a shell has started in the background, and in all that this starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """What a worker of pytest-xdist says of a test goes to the main process as UTF-8, whatever the test has printed."""
    return _in_utf_8((yield))


def _in_utf_8(data: Any) -> Any:
    """The same with each half of a surrogate pair written as an escape."""
    match data:
        case str():
            return data.encode(errors="backslashreplace").decode()
        case dict():
            return {_in_utf_8(key): _in_utf_8(value) for key, value in data.items()}
        case list() | tuple():
            return type(data)(map(_in_utf_8, data))
    return data


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """What is marked as ``unmeasured`` runs without coverage, and so do the processes that it starts."""
    measuring = Coverage.current() if item.get_closest_marker("unmeasured") else None
    if measuring is None:
        return (yield)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
            patch.delenv(name)
        measuring.stop()
        try:
            return (yield)
        finally:
            measuring.start()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The client stands on aiohttp, so asyncio is the only event loop."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _levels() -> Iterator[None]:
    """A command sets levels for its process; here that is the one of all tests."""
    before = {name: logging.getLogger(name).level for name in (None, "openai_runs", "aiosqlite", "dbos", "stamina")}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def _tasks() -> set[asyncio.Task[object]]:
    """All tasks but those with which anyio drives tests and fixtures, this one's end among them."""
    return {task for task in asyncio.all_tasks() if not task.get_coro().__qualname__.startswith("TestRunner.")}


@pytest.fixture(autouse=True)
def _no_backoff() -> Iterator[None]:
    """Repeated requests do not wait; how long they would is tested as a value."""
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a session after a 429 response; `tests/pacing/` tests that with a clock of its own."""
    monkeypatch.setattr(Pace, "note_refusal", lambda *_: None)


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
    # aiohttp remembers the last thousand applications, and with them their tasks: every `all_tasks` would see them.
    for function in vars(web_app).values():
        getattr(function, "cache_clear", int)()
    gc.collect()
    gc.freeze()  # what lives on, modules and caches above all, has been looked at; this halves the suite's time


@pytest.fixture(scope="session")
def postgres_server() -> Iterator["Postgres"]:
    """A PostgreSQL for all tests of a process that want one."""
    from tests.postgres import postgres  # only here: most tests need none

    with postgres() as server:
        yield server


# Services and followers are tested against a `LocalServer`, so that the real wire is in every test.


@pytest.fixture
def backend() -> ScriptedBackend:
    """Tests with another model override this."""
    return ScriptedBackend()


@pytest.fixture
def keyless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a `LocalServer` ignore idempotency keys, as other endpoints do."""
    monkeypatch.setattr("openai_runs.server.idempotency.HEADER", "X-Unknown")
    monkeypatch.setattr("openai_runs.server.app.OWN_HEADERS", {**OWN_HEADERS, SUPPORTED: "false"})
    start = plain_response._START.replace(f"{SUPPORTED}: true", f"{SUPPORTED}: false")
    monkeypatch.setattr(plain_response, "_START", start)


@pytest.fixture
async def server(anyio_backend: str, backend: ScriptedBackend) -> AsyncIterator[LocalServer]:
    async with LocalServer(backend=backend) as server:
        yield server


@pytest.fixture
async def session(server: LocalServer) -> AsyncIterator[Session]:
    async with server.session() as session:
        yield session


@pytest.fixture
async def assistant(session: Session) -> Assistant:
    return await session.assistants.create(model="scripted", tools=[WEATHER])


@pytest.fixture
async def thread(session: Session) -> Thread:
    return await session.threads.create(messages=[{"role": "user", "content": "How is the weather?"}])


@pytest.fixture
def toolbox() -> Toolbox:
    """Knows the weather."""
    toolbox = Toolbox(on_error="raise")

    @toolbox.tool
    async def get_weather(city: str) -> str:
        return f"sunny in {city}"

    return toolbox
