"""`Schedule`: which job of a batch runs next, told by values; no I/O, no clock."""

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs.batch.schedule import Schedule


def full(schedule: Schedule, threads: list[str | None]) -> list[int]:
    """Add jobs as long as the schedule wants some, and start what can be started; returns what was started."""
    started: list[int] = []
    left = list(threads)
    while left and schedule.can_take:
        schedule.add(left.pop(0))
        while (index := schedule.start(0)) is not None:
            started.append(index)
    return started


class TestWindow:
    def test_no_further_than_workers(self) -> None:
        """Where nothing waits, no more jobs are taken than there are workers."""
        schedule = Schedule(workers=3, window=30)
        assert full(schedule, [None] * 10) == [0, 1, 2]
        assert schedule.taken == 3

    def test_a_result_that_nobody_reads(self) -> None:
        """A result that could be handed out keeps its worker from the next job."""
        schedule = Schedule(workers=1, window=10)
        full(schedule, [None])
        schedule.finish(0)
        assert not schedule.can_take
        assert schedule.hand_out() == 0
        assert schedule.can_take

    def test_looking_ahead_for_threads(self) -> None:
        """Jobs whose thread is busy are passed over, up to the window; then no more is taken."""
        schedule = Schedule(workers=2, window=5)
        assert full(schedule, ["a", "a", "a", None, "a", "a"]) == [0, 3]
        assert (schedule.taken, schedule.waiting, schedule.running) == (4, 2, 2)
        schedule = Schedule(workers=2, window=4)
        assert full(schedule, ["a"] * 6) == [0]
        assert (schedule.taken, schedule.open, schedule.can_take) == (4, 4, False)

    def test_looking_ahead_for_order(self) -> None:
        """Results that are early wait for their turn and occupy no worker, up to the window."""
        schedule = Schedule(workers=2, window=4, ordered=True)
        assert full(schedule, [None] * 2) == [0, 1]
        for index in (1, 2, 3):
            schedule.finish(index)
            full(schedule, [None])
            assert schedule.hand_out() is None
        assert not schedule.can_take
        schedule.finish(0)
        assert [schedule.hand_out() for _ in range(5)] == [0, 1, 2, 3, None]


class TestThreads:
    def test_one_after_another(self) -> None:
        """A thread's next job starts when the one before it has its result, not while that waits to be repeated."""
        schedule = Schedule(workers=4, window=10)
        assert full(schedule, ["a", "a", "b"]) == [0, 2]
        schedule.repeat(0, at=5)
        assert schedule.start(4) is None
        assert schedule.start(5) == 0
        schedule.finish(0)
        assert schedule.start(5) == 1
        schedule.finish(1)
        assert schedule.add("a") == 3
        assert schedule.start(5) == 3


class TestRepetition:
    def test_when_its_time_has_come(self) -> None:
        """A job that waits occupies no worker, and goes before later ones at its time."""
        schedule = Schedule(workers=1, window=10)
        full(schedule, [None])
        assert schedule.next_due == math.inf
        schedule.repeat(0, at=7)
        assert schedule.next_due == 7
        assert full(schedule, [None]) == [1]
        schedule.repeat(1, at=7)
        assert [schedule.start(7), schedule.start(7)] == [0, None]


class TestEnd:
    def test_with_the_source(self) -> None:
        """It is over when the source has no more, all have run, and all results are handed out."""
        schedule = Schedule(workers=2, window=2)
        assert not schedule.is_idle
        full(schedule, [None])
        schedule.is_exhausted = True
        assert not schedule.is_idle
        schedule.finish(0)
        assert (schedule.is_idle, schedule.is_over) == (True, False)
        schedule.hand_out()
        assert schedule.is_over

    @pytest.mark.parametrize("ordered", [False, True])
    def test_stopped(self, ordered: bool) -> None:
        """After a stop, what runs goes on; what waits to be repeated has ended, and the rest is not started."""
        schedule = Schedule(workers=2, window=10, ordered=ordered)
        for thread in ("a", "b", "a", "b", None):
            schedule.add(thread)
        assert [schedule.start(0), schedule.start(0)] == [0, 1]
        schedule.repeat(1, at=9)
        assert schedule.start(0) == 4
        assert schedule.stop() == (1,)
        assert (schedule.waiting, schedule.running, schedule.can_take) == (0, 2, False)
        assert schedule.add(None) == 5  # was on its way
        for index in (4, 0):
            assert not schedule.is_idle
            schedule.finish(index)
        assert schedule.is_idle
        assert [schedule.hand_out() for _ in range(4)] == ([0, 1, 4, None] if ordered else [1, 4, 0, None])
        assert schedule.is_over

    def test_paused(self) -> None:
        """No job is taken or begun meanwhile, and those that were are waited for."""
        schedule = Schedule(workers=3, window=30)
        full(schedule, [None] * 2)
        schedule.is_paused = True
        assert not schedule.can_take
        schedule.repeat(0, at=7, has_result=False)
        schedule.finish(1)
        assert (schedule.start(8), schedule.waiting, schedule.is_idle) == (None, 1, False)
        schedule.is_paused = False
        assert schedule.can_take
        assert schedule.start(8) == 0

    def test_stopped_without_a_result(self) -> None:
        """A job whose only attempt does not count ends as one that was never begun."""
        schedule = Schedule(workers=3, window=30)
        full(schedule, [None, "thread", "thread"])
        schedule.repeat(0, at=7, has_result=False)
        schedule.repeat(1, at=7, has_result=False)
        assert schedule.stop() == ()
        assert (schedule.is_over, schedule.has_result) == (True, False)

    def test_stopped_before_a_repetition_got_its_worker(self) -> None:
        """A job whose time has come, and that waits for a worker, ends with the result that it has."""
        schedule = Schedule(workers=1, window=10)
        full(schedule, [None])
        schedule.add(None)
        schedule.repeat(0, at=3)
        assert schedule.start(0) == 1
        assert schedule.start(3) is None
        assert schedule.stop() == (0,)


@given(data=st.data(), ordered=st.booleans(), workers=st.integers(1, 4), room=st.integers(0, 5), stops=st.booleans())
def test_any_course(data: Any, ordered: bool, workers: int, room: int, stops: bool) -> None:
    """Whatever happens in whatever order: n jobs give n results, each once.

    Never do two jobs of one thread run at a time, they run in their order, at most ``workers`` run at once, and the
    window is never exceeded. With ``ordered``, results come in the order of the source.
    """
    jobs: list[str | None] = data.draw(st.lists(st.sampled_from([None, "a", "b"]), max_size=15))
    window = workers + room
    schedule, now = Schedule(workers, window, ordered), 0.0
    running: list[int] = []
    first_runs: list[int] = []
    results: list[int] = []
    retries: Counter[int] = Counter()
    while not schedule.is_over:
        moves = []
        if schedule.can_take:
            moves.append("take")
        if running:
            moves += ["finish", "repeat"]
        if schedule.next_due < math.inf:
            moves.append("wait")
        moves.append("read")
        if stops and not schedule.is_stopped:
            moves.append("stop")
        match data.draw(st.sampled_from(moves)):
            case "take" if schedule.taken == len(jobs):
                schedule.is_exhausted = True
            case "take":
                schedule.add(jobs[schedule.taken])
            case "finish":
                schedule.finish(running.pop(data.draw(st.integers(0, len(running) - 1))))
            case "repeat" if not schedule.is_stopped:
                index = running.pop(data.draw(st.integers(0, len(running) - 1)))
                retries[index] += 1
                if retries[index] > 2:
                    schedule.finish(index)
                else:
                    schedule.repeat(index, now + data.draw(st.integers(0, 3)))
            case "wait":
                now = schedule.next_due
            case "read" if (handed := schedule.hand_out()) is not None:
                results.append(handed)
            case "stop":
                schedule.stop()
        while (index := schedule.start(now)) is not None:
            if not retries[index]:
                first_runs.append(index)
            running.append(index)
        if schedule.is_exhausted and not running and schedule.next_due < math.inf:
            now = max(now, schedule.next_due)
        assert schedule.running == len(running) <= workers
        assert schedule.open <= window
        busy = [jobs[index] for index in running if jobs[index] is not None]
        assert len(busy) == len(set(busy))
    for thread in ("a", "b"):
        order = [index for index in first_runs if jobs[index] == thread]
        assert order == sorted(order)
    assert sorted(results) == sorted(first_runs)  # a job that was started has one result, and no other has any
    assert stops or sorted(results) == list(range(len(jobs)))
    assert not ordered or results == sorted(results)
    assert not running
    assert not schedule.open
