"""What stamina logs: nothing of our retries, all of everybody else's."""

import logging

import pytest
import stamina
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from openai_runs._http.attempts import Attempts
from tests.samples import EXAMPLES
from tests.stub import Stub, error, reply

pytestmark = pytest.mark.anyio

THREAD = (EXAMPLES / "objects/ThreadObject.json").read_bytes()


def by_stamina(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.__dict__["stamina.callable"] for record in caplog.records if record.name == "stamina"]


async def fetch_key() -> str:
    """As in an application whose own code retries."""
    failures = [OSError("down")]

    @stamina.retry(on=OSError, attempts=3)
    async def key_of_the_application() -> str:
        if failures:
            raise failures.pop()
        return "key"

    return await key_of_the_application()


async def test_only_retries_of_others_are_logged_by_stamina(caplog: pytest.LogCaptureFixture) -> None:
    """Also if they are made within an attempt of ours; ours has a line with the URL and the reason."""
    caplog.set_level(logging.INFO)
    async with Stub(error(503), reply(THREAD)) as stub, stub.session(api_key=fetch_key) as session:
        await session.threads.retrieve("thread_1")
    assert [name.rpartition(".")[2] for name in by_stamina(caplog)] == [
        "key_of_the_application"
    ] * 2  # before each attempt
    [line] = [record.getMessage() for record in caplog.records if record.name == "openai_runs.http"]
    assert line.startswith("repeating a request that failed: GET /v1/threads/thread_1 at http://127.0.0.1")


async def test_the_hooks_of_the_application_stay() -> None:
    """They are called for our retries, too: somebody may count all."""
    causes: list[str] = []

    def note(details: RetryDetails) -> None:
        causes.append(str(details.caused_by))

    set_on_retry_hooks([note])
    try:
        async for attempt in Attempts(stamina.retry_context(on=ValueError, attempts=2)):
            with attempt:
                if attempt.num == 1:
                    raise ValueError("first")
    finally:
        set_on_retry_hooks(None)
    assert causes == ["first"]
