"""`ExactTimes`: fractions of seconds, where the API has whole ones."""

from datetime import UTC, datetime
from typing import Any

from attrs import evolve

from openai_runs.engine import exact_times
from openai_runs.engine.exact_times import ExactTimes
from openai_runs.models.message import Message, MessageRole
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.run_step import CreatedMessage, MessageCreation, RunStep, RunStepStatus
from openai_runs.stores.records import Delete, Record

AT = 1_700_000_000


def time(seconds: float) -> datetime:
    return datetime.fromtimestamp(AT + seconds, UTC)


def a_run(id: str = "run_1", status: str = "queued", **fields: Any) -> Run:
    return Run(
        id=id, created_at=time(0), thread_id="thread_1", assistant_id="asst_1", status=RunStatus(status), **fields
    )


STEP = RunStep(
    id="step_1",
    created_at=time(1),  # at least a second after its run
    thread_id="thread_1",
    run_id="run_1",
    type="message_creation",
    status=RunStepStatus.IN_PROGRESS,
    step_details=MessageCreation(message_creation=CreatedMessage(message_id="msg_1")),
)


def noted(*changes: tuple[float, Any]) -> ExactTimes:
    times = ExactTimes()
    for seconds, value in changes:
        times.note([Record("", value)], AT + seconds)
    return times


def test_a_run_and_its_step() -> None:
    """They have the times at which they were stored; only those that the API shows are there."""
    started = a_run(status="in_progress", started_at=time(0))
    ended = a_run(status="completed", started_at=time(0), completed_at=time(1))
    done = evolve(STEP, status=RunStepStatus.COMPLETED, completed_at=time(1))
    changes = [(0.25, a_run()), (0.5, started), (0.5, STEP), (0.75, done), (0.75, ended), (9.5, ended)]
    times = noted(*changes)
    assert times.of(ended) == evolve(ended, created_at=time(0.25), started_at=time(0.5), completed_at=time(0.75))
    assert times.of(done) == evolve(done, created_at=time(0.5), completed_at=time(0.75))
    times = noted(*changes[:3])
    assert times.of(started) == evolve(started, created_at=time(0.25), started_at=time(0.5))
    assert times.of(STEP) == evolve(STEP, created_at=time(0.5))
    assert noted(changes[0]).of(a_run()) == evolve(a_run(), created_at=time(0.25))


def test_a_step_that_is_stored_once() -> None:
    """It has begun and ended then, and not a second after its run, as the API shows it."""
    done = evolve(STEP, status=RunStepStatus.COMPLETED, completed_at=time(1))
    assert noted((0.25, done)).of(done) == evolve(done, created_at=time(0.25), completed_at=time(0.25))
    old = evolve(done, created_at=time(-2))
    assert noted((0.25, old)).of(old) is old


def test_a_run_that_is_answered() -> None:
    """It has started once."""
    started = a_run(status="in_progress", started_at=time(0))
    times = noted((0.25, a_run()), (0.5, started), (5.5, started))
    assert times.of(started).started_at == time(0.5)


def test_what_began_earlier() -> None:
    """Of a run that an earlier engine has begun, nothing is known, nor of what is no run."""
    running, old = a_run(status="in_progress", started_at=time(0)), a_run()
    message = Message(id="msg_1", created_at=time(0), thread_id="thread_1", role=MessageRole.USER)
    times = noted((0.25, running), (5, old), (0.25, message))
    assert times.of(running) is running
    assert times.of(old) is old
    times.note([Delete(Run, "run_1")], AT)
    assert times.of(old) is old


def test_not_all_are_kept(monkeypatch: Any) -> None:
    """The oldest make room."""
    monkeypatch.setattr(exact_times, "_MOST", 2)
    runs = [a_run(f"run_{number}") for number in range(3)]
    times = noted(*((0.25, run) for run in runs))
    assert [times.of(run) is run for run in runs] == [True, False, False]
