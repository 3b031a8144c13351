"""`through_outages`: a request is repeated while the endpoint is away, for so long, and no other failure is."""

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from attrs import evolve

from openai_runs import Polling
from openai_runs.errors import BadRequestError, TransportError
from openai_runs.following.outages import through_outages
from openai_runs.pacing.sending import told

pytestmark = pytest.mark.anyio

POLLING = Polling(first=1, factor=2, longest=4)


def failing(*failures: Exception) -> Callable[[], Awaitable[str]]:
    """A request that fails a few times."""
    left = list(failures)

    async def request() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return request


class Slept(list[float]):
    """How long was slept each time."""

    async def sleep(self, seconds: float) -> None:
        self.append(seconds)


async def test_it_is_repeated(caplog: pytest.LogCaptureFixture) -> None:
    """The delays are those of polls; each failure is logged, but not all of them as warnings."""
    slept = Slept()
    lost = TransportError("connection refused")
    with caplog.at_level(logging.DEBUG, "openai_runs.following"):
        answer = await through_outages(failing(lost, lost, lost, lost), POLLING, "a job", sleep=slept.sleep)
    assert answer == "done"
    assert slept == [1, 2, 4, 4]
    assert caplog.text.count("a job: the endpoint has been unreachable for ") == 4
    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG", "DEBUG", "DEBUG"]


async def test_a_long_one(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told again each time that it has lasted twice as long."""
    slept = Slept()
    monkeypatch.setattr("openai_runs.following.outages.anyio.current_time", lambda: sum(slept))
    with caplog.at_level(logging.WARNING, "openai_runs.following"):
        await through_outages(failing(*[TransportError("no")] * 8), POLLING, "a job", sleep=slept.sleep)
    assert slept == [1, 2, 4, 4, 4, 4, 4, 4]
    assert [record.args[1] for record in caplog.records if isinstance(record.args, tuple)] == [0, 1, 3, 7, 15]


@pytest.mark.parametrize("error", [TransportError("refused"), BadRequestError("no", status=400, headers={})])
async def test_it_is_over(error: Any) -> None:
    """A refusal is no outage; and whoever asks may say that it is over."""
    slept = Slept()
    with pytest.raises(type(error)):
        await through_outages(failing(error), POLLING, "a job", sleep=slept.sleep, is_over=lambda one: one is error)
    assert slept == []


@pytest.mark.parametrize(("outage", "is_noted"), [(1e-9, True), (0, False)])
async def test_it_is_given_up(outage: float, is_noted: bool) -> None:
    """The error says that patience was over, and how much there was, unless there was none."""
    slept = Slept()
    polling = evolve(POLLING, outage=outage)
    with pytest.raises(TransportError, match=r"^refused") as caught:
        await through_outages(failing(*[TransportError("refused")] * 9), polling, "a job", sleep=slept.sleep)
    notes = getattr(caught.value, "__notes__", [])
    assert len(notes) == is_noted
    assert all(
        re.fullmatch(r"Given up: .* unreachable for \d+\.\d s, and Polling\.outage is 1e-09 s\.", n) for n in notes
    )


@pytest.mark.parametrize("takes_turns", [True, False])
async def test_turns(takes_turns: bool) -> None:
    """When a request is sent is noted only where it may have to wait before."""

    async def request() -> bool:
        return told.get() is not None

    assert await through_outages(request, POLLING, "a job", takes_turns=takes_turns) is takes_turns
