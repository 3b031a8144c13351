"""Ends a run, together with its open message and steps."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import reduce
from typing import Any, Final, TypeAlias

from attrs import frozen

from openai_runs._evolving import evolve
from openai_runs.backends.replay import without_replay
from openai_runs.engine.api_events import ApiEvent
from openai_runs.engine.clock import SystemClock
from openai_runs.engine.ledger import Ledger
from openai_runs.engine.turn_ledger import TurnLedger
from openai_runs.engine.turn_output import (
    TurnProgress,
    add_usage,
    ended_message,
    ended_step,
)
from openai_runs.errors import StoreDataError, StoreUnavailableError
from openai_runs.lifecycle import moved
from openai_runs.models.message import Message
from openai_runs.models.run import LastError, Run, RunIncompleteDetails, RunStatus, Usage
from openai_runs.models.run_step import RunStep, RunStepStatus
from openai_runs.stores.records import NO_USAGE, Change, Delete, PageQuery, Record, RunState
from openai_runs.stores.store import Store

_logger = logging.getLogger("openai_runs.engine")

_S = RunStatus
_STEP_STATUS: Final[Mapping[RunStatus, RunStepStatus]] = {
    _S.COMPLETED: RunStepStatus.COMPLETED,
    _S.INCOMPLETE: RunStepStatus.COMPLETED,  # the step is complete: only its message is incomplete, and says so
    _S.FAILED: RunStepStatus.FAILED,
    _S.CANCELLED: RunStepStatus.CANCELLED,
    _S.EXPIRED: RunStepStatus.EXPIRED,
}
_MESSAGE_REASON: Final[Mapping[RunStatus, str]] = {
    _S.FAILED: "run_failed",
    _S.CANCELLED: "run_cancelled",
    _S.EXPIRED: "run_expired",
}
_CALLS_NOT_MADE: Final = LastError(
    code="server_error", message="The run became incomplete before the calls could be made."
)

#: The run's field for the time. The API has none for ``incomplete`` and ``expired``; for ``expired``, the hosted API
#: used ``completed_at``.
_ENDED_AT_FIELDS: Final = {RunStatus.CANCELLED: "cancelled_at", RunStatus.FAILED: "failed_at"}


def ended(run: Run, to: RunStatus, now: datetime, usage: Usage, **changes: Any) -> Run:
    """Move a run to a terminal status."""
    changes[_ENDED_AT_FIELDS.get(to, "completed_at")] = now
    return moved(run, to, required_action=None, expires_at=None, usage=usage, **changes)


#: The changes to commit, and the events to publish after that.
Changeset: TypeAlias = tuple[list[Change], list[ApiEvent]]


@frozen
class Ending:
    """The result of ending a run."""

    run: Run  #: as it is stored now
    handle: str | None = None  #: of a model call that may still run at the endpoint
    #: Parts of the run that could not be read or written and were left unchanged, each with its error.
    skipped: tuple[str, ...] = ()
    had_ended: bool = False  #: whether the run had ended before; then it was not changed


def last_error_for(failure: BaseException) -> LastError:
    """Make the ``last_error`` for an exception other than the backend's. The details are only in the log."""
    if isinstance(failure, StoreDataError):
        return LastError(code="server_error", message=failure.message)
    text = f"The server failed to execute this run ({type(failure).__name__}); its log says why."
    return LastError(code="server_error", message=text)


async def end_message(
    ledger: Ledger | TurnLedger,
    owner: str,
    step: RunStep,
    progress: TurnProgress | None,
    *,
    to: RunStatus = RunStatus.COMPLETED,
    usage: Usage = NO_USAGE,
    error: LastError | None = None,
) -> Changeset:
    """End the message of a step, then the step. Returns the changes and events; nothing is committed."""
    message = await ledger.get(Message, step.message_id or "")
    content, reason = message.content, _MESSAGE_REASON.get(to)
    now = max(ledger.now(), step.created_at)  # see `Ledger.now_in`
    if progress is not None and progress.message_draft is not None and progress.message_draft.step_id == step.id:
        content = progress.message_draft.content
        if to is RunStatus.INCOMPLETE and progress.reason in ("max_tokens", "content_filter"):
            reason = progress.reason  # otherwise the text is complete, and only the run's own limit is exceeded
    message = ended_message(message, content, now, reason)
    step = ended_step(step, _STEP_STATUS[to], now, usage=usage, error=error)
    events = [ApiEvent(f"thread.message.{message.status}", message), ApiEvent(f"thread.run.step.{step.status}", step)]
    return [Record(owner, message), Record(owner, step)], events


def end_calls(
    ledger: Ledger | TurnLedger,
    owner: str,
    step: RunStep,
    *,
    to: RunStatus,
    usage: Usage,
    error: LastError | None = None,
) -> Changeset:
    """End a step of tool calls, or one whose message cannot be ended. Returns changes and events; commits nothing."""
    if to is RunStatus.INCOMPLETE:
        to, error = RunStatus.FAILED, _CALLS_NOT_MADE
    step = ended_step(step, _STEP_STATUS[to], max(ledger.now(), step.created_at), usage=usage, error=error)
    return [Record(owner, step)], [ApiEvent(f"thread.run.step.{step.status}", without_replay(step))]


def deletions_of_unused(steps: Sequence[RunStep]) -> list[Change]:
    """Delete the steps that an interrupted call had started and its retry did not use. They are empty."""
    changes: list[Change] = []
    for step in steps:
        if step.status == RunStepStatus.IN_PROGRESS:
            changes.append(Delete(RunStep, step.id))
            if (message_id := step.message_id) is not None:
                changes.append(Delete(Message, message_id))
    return changes


async def end_run(
    ledger: Ledger | TurnLedger,
    owner: str,
    run: Run,
    state: RunState,
    to: RunStatus,
    *,
    progress: TurnProgress | None,
    error: LastError | None = None,
    details: RunIncompleteDetails | None = None,
    skipped: list[str] | None = None,
    then: Callable[[], object] | None = None,
) -> Ending:
    """End a run with its open message and steps, in one commit. The caller holds the lock of the thread.

    Args:
        ledger: Where to commit.
        owner: The run's owner.
        run: The run as it is stored.
        state: The run's state, which is deleted.
        to: A terminal status.
        progress: Of the model call that has ended or was interrupted; ``None`` if there is none.
        error: Why the run failed.
        details: Why it is incomplete.
        skipped: Collects the steps and messages that cannot be read; they are left unchanged. ``None``: raise instead.
        then: What follows from it in memory; see `Ledger.commit`.
    """
    used, usage = state.step_usage or NO_USAGE, state.usage
    changes: list[Change] = []
    events: list[ApiEvent] = []
    unused: set[str] = set()
    if progress is not None:
        used, usage = progress.usage, add_usage(usage, progress.usage)
        if to in (RunStatus.COMPLETED, RunStatus.INCOMPLETE):
            unused = {step.id for step in progress.reusable_steps}
            changes += deletions_of_unused(progress.reusable_steps)
    steps = [step for id in state.steps if (step := await _step(ledger, run.id, id, skipped)) is not None]
    still_open = [step for step in steps if step.status == RunStepStatus.IN_PROGRESS and step.id not in unused]
    for step in still_open:
        share = used if step is still_open[-1] else NO_USAGE  # usage is known only for the whole model call
        if step.message_id is None:
            changeset = end_calls(ledger, owner, step, to=to, usage=share, error=error)
        else:
            try:
                changeset = await end_message(ledger, owner, step, progress, to=to, usage=share, error=error)
            except Exception as problem:  # whatever is wrong with the message, the run must end
                _skip(skipped, run.id, f"the message of step {step.id}", problem)
                changeset = end_calls(ledger, owner, step, to=to, usage=share, error=error)
        changes += changeset[0]
        events += changeset[1]
    run = ended(run, to, ledger.now_in(run), usage, last_error=error, incomplete_details=details)
    changes += [Record(owner, run), Delete(RunState, run.id)]
    await ledger.commit(changes, run.id, [*events, ApiEvent(f"thread.run.{to}", run)], then=then)
    return Ending(run, state.handle, tuple(skipped or ()))


async def end_unfinished(
    ledger: Ledger,
    owner: str,
    run_id: str,
    to: RunStatus,
    *,
    progress: TurnProgress | None = None,
    error: LastError | None = None,
) -> Ending:
    """End a run, even if its state, steps or messages are damaged. The caller holds the lock of the thread.

    A run that is ``cancelling`` becomes ``cancelled``, whatever ``to`` says. A run that has ended is not changed; only
    its state is deleted.

    Args:
        ledger: Where it is written.
        owner: The run's.
        run_id: Which run.
        to: ``failed``, ``cancelled`` or ``expired``.
        progress: Of the model call that is interrupted; ``None`` if there is none.
        error: Why the run failed.

    Raises:
        StoreUnavailableError: Nothing was changed; trying again later may help.
        Exception: The run itself cannot be read or written.
    """
    run = await ledger.get(Run, run_id)
    if run.status.is_terminal:
        await ledger.commit([Delete(RunState, run_id)])
        return Ending(run, had_ended=True)
    if run.status is RunStatus.CANCELLING:
        to, error = RunStatus.CANCELLED, None
    skipped: list[str] = []
    state = await _state(ledger, run, skipped)
    try:
        return await end_run(ledger, owner, run, state, to, progress=progress, error=error, skipped=skipped)
    except Exception as problem:  # perhaps in a step or message: the run must end even without them
        _skip(skipped, run_id, "its steps and messages", problem)
        return await end_run(
            ledger, owner, run, evolve(state, steps=()), to, progress=None, error=error, skipped=skipped
        )


async def end_by_hand(store: Store, run_id: str, to: RunStatus, reason: str) -> Ending:
    """End a run in a store that no engine uses, even if parts of it are damaged. A run that has ended is not changed.

    Args:
        store: An open store.
        run_id: Which run.
        to: ``failed`` or ``cancelled``.
        reason: The message of its ``last_error``. Only for ``failed``: the API has no error for the others.

    Raises:
        LookupError: There is no such run.
        StoreDataError: The run itself cannot be read or written; no engine will resume it.
        StoreUnavailableError: The file cannot be read or written now.
    """
    ledger = Ledger(store, SystemClock(), is_open=True)
    error = LastError(code="server_error", message=reason) if to is RunStatus.FAILED else None
    try:
        record = await store.get(Run, run_id)
        if record is not None:
            return await end_unfinished(ledger, record.owner, run_id, to, error=error)
    except StoreDataError as problem:
        await ledger.commit([Delete(RunState, run_id)])
        text = f"Run {run_id} itself cannot be read or written, and stays as it is. No server will resume it"
        raise StoreDataError(f"{text}: {problem.message}") from problem
    await ledger.commit([Delete(RunState, run_id)])
    raise LookupError(f"there is no run {run_id}")


async def _step(ledger: Ledger | TurnLedger, run_id: str, id: str, skipped: list[str] | None) -> RunStep | None:
    try:
        return await ledger.get(RunStep, id)
    except Exception as problem:  # whatever is wrong with the step, the run must end
        _skip(skipped, run_id, f"step {id}", problem)
        return None


async def _state(ledger: Ledger, run: Run, skipped: list[str]) -> RunState:
    """Read a run's state; if it is damaged, rebuild from the run's steps what ending it requires."""
    try:
        return await ledger.get(RunState, run.id)
    except Exception as problem:  # whatever is wrong with the state, the run must end
        _skip(skipped, run.id, "its state", problem)
    try:
        records, _ = await ledger.store.page(RunStep, run.id, PageQuery(limit=100))
    except Exception as problem:  # likewise
        _skip(skipped, run.id, "its steps", problem)
        records = ()
    steps = [record.value for record in reversed(records)]
    usage = reduce(add_usage, (step.usage for step in steps if step.usage is not None), NO_USAGE)
    ids = tuple(step.id for step in steps)
    return RunState(id=run.id, thread_id=run.thread_id, deadline=0, usage=usage, steps=ids)


def _skip(skipped: list[str] | None, run_id: str, what: str, problem: Exception) -> None:
    """In an ``except`` block: record a part that cannot be read or written, or raise.

    It raises if no part may be skipped, and if the store may be available again later.
    """
    if skipped is None or isinstance(problem, StoreUnavailableError):
        raise problem
    skipped.append(f"{what}: {problem}")
    _logger.error("run %s ends without %s", run_id, what, exc_info=problem)
