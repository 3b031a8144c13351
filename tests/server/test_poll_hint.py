"""`PollHint`: when to poll a run again."""

from datetime import UTC, datetime

import pytest
from aiohttp import ClientSession

from openai_runs.backends import ScriptedBackend, Wait
from openai_runs.models.run import Run, RunStatus
from openai_runs.server import LocalServer, PollHint
from tests.server.api import Api

pytestmark = pytest.mark.anyio

CREATED = 1_800_000_000


def run(status=RunStatus.QUEUED, window=None):
    return Run(
        id="run_1",
        thread_id="thread_1",
        assistant_id="asst_1",
        status=status,
        created_at=datetime.fromtimestamp(CREATED, UTC),
        completion_window=window,
    )


@pytest.mark.parametrize(("age", "delay"), [(0, 0.05), (-60, 0.05), (0.1, 0.05), (2, 0.2), (30, 3), (600, 5)])
def test_the_older_the_slower(age, delay):
    """A new run is polled often, an old one less often, within the limits."""
    assert PollHint(now=lambda: CREATED + age).delay(run()) == pytest.approx(delay)


@pytest.mark.parametrize(("ago", "delay"), [(0, 0.05), (2, 0.2), (600, 5)])
def test_an_old_run_that_is_worked_on_again(ago, delay):
    """What counts is how long it has been worked on, not for how long it waited before."""
    assert PollHint(now=lambda: CREATED + 600).delay(run(), since=CREATED + 600 - ago) == pytest.approx(delay)


@pytest.mark.parametrize(("pending", "age", "delay"), [(100, 0, 0.05), (1000, 0, 0.5), (1000, 20, 2), (10**6, 0, 5)])
def test_the_more_the_slower(pending, age, delay):
    """Many pending runs together are not polled more often than `max_rate`."""
    assert PollHint(now=lambda: CREATED + age).delay(run(), pending) == pytest.approx(delay)


@pytest.mark.parametrize("status", RunStatus)
def test_an_ended_run_is_not_asked_for(status):
    """A run has a hint until it has ended."""
    assert (PollHint(now=lambda: CREATED).delay(run(status)) is None) == status.is_terminal


def test_an_old_run_obeys_a_long_shortest():
    """No hint is below `shortest`, whatever the other limits are."""
    assert PollHint(shortest=10, now=lambda: CREATED + 600).delay(run()) == 10


def test_a_hint_of_nothing_would_be_a_busy_loop():
    """Zero is refused, since clients would poll without a pause."""
    for name in ("shortest", "max_rate"):
        with pytest.raises(ValueError, match=name):
            PollHint(**{name: 0})


@pytest.mark.parametrize(("window", "delay"), [("2h", 120), ("8h", 480), ("a later one", 0.05)])
@pytest.mark.parametrize("status", [RunStatus.QUEUED, RunStatus.IN_PROGRESS])
def test_who_has_hours_is_asked_rarely(status, window, delay):
    """A run with a completion window is polled sixty times in that window, from its creation on."""
    assert PollHint(now=lambda: CREATED).delay(run(status, window)) == delay


def test_what_does_not_take_hours():
    """Where a run with a window waits for outputs, or is being cancelled, it is polled like any other."""
    for status in RunStatus.REQUIRES_ACTION, RunStatus.CANCELLING:
        assert PollHint(now=lambda: CREATED + 2).delay(run(status, "8h")) == pytest.approx(0.2)
    assert PollHint(window_share=0, now=lambda: CREATED).delay(run(window="8h")) == 0.05


async def test_the_server_knows_how_many_are_pending():
    """Executing and queued runs both count as pending."""
    server = LocalServer(backend=ScriptedBackend([Wait()]), max_active_runs=1, poll_hint=PollHint(max_rate=1))
    async with server, ClientSession() as http:
        api = Api(http, server.url)
        assistant = await api("POST", "/assistants", {"model": "m"})
        responses = [await api.send("POST", "/threads/runs", {"assistant_id": assistant["id"]}) for _ in range(3)]
    assert [response.headers["openai-poll-after-ms"] for response in responses] == ["1000", "2000", "3000"]
