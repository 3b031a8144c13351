"""The table of moves, and the events that snapshots make: all by value."""

import logging
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from openai_runs import load
from openai_runs.events import ActionRequired, RunEnded, StatusChanged
from openai_runs.lifecycle import CANCELLABLE, MOVES, REACHABLE, TERMINAL, RunLifecycle, moved
from openai_runs.models.run import Run, RunStatus
from tests.samples import EXAMPLES

RUN = load((EXAMPLES / "objects/RunObject.json").read_bytes(), Run)
S = RunStatus
ENDS = {S.CANCELLED, S.FAILED, S.COMPLETED, S.INCOMPLETE, S.EXPIRED}


def seen(status: str) -> Run:
    return evolve(RUN, status=RunStatus(status), required_action=None)


def observed(*snapshots: Run) -> list[Any]:
    lifecycle = RunLifecycle()
    return [event for event in map(lifecycle.observe, snapshots) if event is not None]


@st.composite
def walks(draw: st.DrawFn) -> list[RunStatus]:
    """The statuses of a run from its start to its end."""
    walk = [S.QUEUED]
    while after := sorted(MOVES[walk[-1]]):
        walk.append(draw(st.sampled_from(after)))
    return walk


class TestMoves:
    def test_all_statuses(self) -> None:
        """The table has each of the nine statuses and no others; terminal ones have no next status."""
        assert set(MOVES) == set(REACHABLE) == set(RunStatus)
        assert set().union(*MOVES.values()) <= set(RunStatus)
        assert {status for status, after in MOVES.items() if not after} == ENDS == TERMINAL

    def test_every_status_has_a_life(self) -> None:
        """From `queued` every status can be reached, and from every status a terminal one."""
        assert REACHABLE[S.QUEUED] == set(RunStatus)
        for status in set(RunStatus) - TERMINAL:
            assert REACHABLE[status] & TERMINAL
            assert status not in MOVES[status]

    @given(walks(), st.data())
    def test_reachable(self, walk: list[RunStatus], data: st.DataObject) -> None:
        """A later status of any walk is reachable from any earlier one, and no walk leaves a terminal state."""
        later = data.draw(st.integers(1, len(walk) - 1))
        earlier = data.draw(st.integers(0, later - 1))
        assert walk[later] in REACHABLE[walk[earlier]]
        assert walk[-1].is_terminal
        assert not any(status.is_terminal for status in walk[:-1])

    @pytest.mark.parametrize("status", RunStatus)
    def test_reachable_is_closed(self, status: RunStatus) -> None:
        """What can follow something reachable is reachable: the table of moves, and no more."""
        ahead = REACHABLE[status]
        assert ahead >= MOVES[status]
        assert ahead == MOVES[status].union(*(MOVES[after] for after in ahead))


class TestWhatFollowsFromTheMoves:
    def test_terminal(self) -> None:
        """`RunStatus.is_terminal` agrees with the table; an unknown status is not terminal."""
        assert {status for status in RunStatus if status.is_terminal} == TERMINAL
        assert not RunStatus("paused").is_terminal

    def test_cancellable(self) -> None:
        """A run that has ended or is being cancelled cannot be cancelled."""
        assert {*MOVES} - CANCELLABLE == {*TERMINAL, RunStatus.CANCELLING}

    def test_moved(self) -> None:
        """A move in the table is made; any other is refused with both statuses named."""
        run = seen("queued")
        assert moved(run, RunStatus.IN_PROGRESS, started_at=run.created_at).started_at == run.created_at
        with pytest.raises(RuntimeError, match="cannot go from queued to completed"):
            moved(run, RunStatus.COMPLETED)


class TestObserve:
    @given(walks(), st.data())
    def test_each_change_once(self, walk: list[RunStatus], data: st.DataObject) -> None:
        """However often a run is polled, and whatever is missed: each observed change is reported once."""
        looks = [status for status in walk for _ in range(data.draw(st.integers(0, 3)))]
        events = observed(*map(seen, looks))
        changes = [status for index, status in enumerate(looks) if index == 0 or looks[index - 1] != status]
        assert [event.status for event in events] == changes
        assert [event.previous for event in events] == [None, *changes][: len(changes)]
        for event in events:
            kind = RunEnded if event.status.is_terminal else StatusChanged
            assert type(event) is (ActionRequired if event.status is S.REQUIRES_ACTION else kind)

    @given(walks())
    def test_a_legal_life_is_not_remarked_on(self, walk: list[RunStatus]) -> None:
        """Missing statuses between two polls is no reason for a warning."""
        logger, records = logging.getLogger("openai_runs.lifecycle"), []
        handler = logging.Handler()
        handler.emit = records.append  # type: ignore[method-assign]  # the shortest handler
        logger.addHandler(handler)
        try:
            observed(*map(seen, walk))
            observed(*map(seen, walk[::2]))
        finally:
            logger.removeHandler(handler)
        assert records == []

    def test_another_round(self) -> None:
        """A run that requires action again is a change, though its status is the same; the same round is none."""
        lifecycle, waits = RunLifecycle(), seen("requires_action")
        events = [lifecycle.observe(waits, number) for number in (1, 1, 2)]
        assert [type(event) for event in events] == [ActionRequired, type(None), ActionRequired]
        assert events[2].previous is S.REQUIRES_ACTION

    def test_an_unknown_status(self) -> None:
        """An unknown status is reported as it is, and following continues."""
        events = observed(seen("queued"), seen("paused"), seen("paused"), seen("in_progress"), seen("completed"))
        assert [event.status for event in events] == ["queued", "paused", "in_progress", "completed"]
        assert type(events[1]) is StatusChanged
        assert not events[1].status.is_known
        assert not events[1].status.is_terminal

    def test_an_impossible_move(self, caplog: pytest.LogCaptureFixture) -> None:
        """An impossible move, perhaps from a stale replica, is reported and logged, not fatal."""
        events = observed(seen("completed"), seen("in_progress"))
        assert [event.status for event in events] == ["completed", "in_progress"]
        assert f"run {RUN.id} went from completed to in_progress, a move that the API does not have" in caplog.text
