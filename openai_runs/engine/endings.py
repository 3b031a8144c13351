"""How a run ends, and with it the message and the steps that were open."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import reduce
from typing import Any, Final, TypeAlias

from attrs import evolve, frozen

from openai_runs.engine.api_events import ApiEvent
from openai_runs.engine.clock import SystemClock
from openai_runs.engine.ledger import Ledger
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
    _S.INCOMPLETE: RunStepStatus.COMPLETED,  # it did write a message, which says itself that it is incomplete
    _S.FAILED: RunStepStatus.FAILED,
    _S.CANCELLED: RunStepStatus.CANCELLED,
    _S.EXPIRED: RunStepStatus.EXPIRED,
}
_MESSAGE_REASON: Final[Mapping[RunStatus, str]] = {
    _S.FAILED: "run_failed",
    _S.CANCELLED: "run_cancelled",
    _S.EXPIRED: "run_expired",
}
_CUT_OFF: Final = LastError(code="server_error", message="The run became incomplete before the calls could be made.")

#: The field that says when. The API has none for ``incomplete`` and ``expired``; the hosted one took ``completed_at``
#: for the latter.
_ENDED_AT: Final = {RunStatus.CANCELLED: "cancelled_at", RunStatus.FAILED: "failed_at"}


def ended(run: Run, to: RunStatus, now: datetime, usage: Usage, **changes: Any) -> Run:
    """Move a run to a terminal status."""
    changes[_ENDED_AT.get(to, "completed_at")] = now
    return moved(run, to, required_action=None, expires_at=None, usage=usage, **changes)


#: What a move stores, and what it tells.
Changeset: TypeAlias = tuple[list[Change], list[ApiEvent]]


@frozen
class Ending:
    """What has become of a run that was to be ended."""

    run: Run  #: as it is now
    handle: str | None = None  #: of a model call that may go on at the endpoint
    left: tuple[str, ...] = ()  #: what belongs to the run and was left as it was, each with the reason
    was_over: bool = False  #: the run had ended before


def error_of(failure: BaseException) -> LastError:
    """What a run's readers are told of a failure that is no word of the model's; the log has the rest."""
    if isinstance(failure, StoreDataError):
        return LastError(code="server_error", message=failure.message)
    text = f"The server could not go on with this run ({type(failure).__name__}); its log says why."
    return LastError(code="server_error", message=text)


async def end_message(
    ledger: Ledger,
    owner: str,
    step: RunStep,
    progress: TurnProgress | None,
    *,
    to: RunStatus = RunStatus.COMPLETED,
    usage: Usage = NO_USAGE,
    error: LastError | None = None,
) -> Changeset:
    """End the message that a step writes, and then the step; as changes and events, nothing is committed."""
    message = await ledger.get(Message, step.message_id or "")
    content, reason, now = message.content, _MESSAGE_REASON.get(to), ledger.now()
    if progress is not None and progress.writing is not None and progress.writing.step_id == step.id:
        content = progress.writing.content
        if to is RunStatus.INCOMPLETE and progress.reason in ("max_tokens", "content_filter"):
            reason = progress.reason  # else the text is whole, and it is the run that has used too much
    message = ended_message(message, content, now, reason)
    step = ended_step(step, _STEP_STATUS[to], now, usage=usage, error=error)
    events = [ApiEvent(f"thread.message.{message.status}", message), ApiEvent(f"thread.run.step.{step.status}", step)]
    return [Record(owner, message), Record(owner, step)], events


def end_calls(
    ledger: Ledger, owner: str, step: RunStep, *, to: RunStatus, usage: Usage, error: LastError | None = None
) -> Changeset:
    """End a step, which is one of tool calls if all is well; as changes and events, nothing is committed."""
    if to is RunStatus.INCOMPLETE:
        to, error = RunStatus.FAILED, _CUT_OFF
    step = ended_step(step, _STEP_STATUS[to], ledger.now(), usage=usage, error=error)
    return [Record(owner, step)], [ApiEvent(f"thread.run.step.{step.status}", step)]


def forget(steps: Sequence[RunStep]) -> list[Change]:
    """Take back what an interrupted call had begun and its repetition has no use for: nothing was ever in it."""
    changes: list[Change] = []
    for step in steps:
        if step.status == RunStepStatus.IN_PROGRESS:
            changes.append(Delete(RunStep, step.id))
            if (message_id := step.message_id) is not None:
                changes.append(Delete(Message, message_id))
    return changes


async def end_run(
    ledger: Ledger,
    owner: str,
    run: Run,
    state: RunState,
    to: RunStatus,
    *,
    progress: TurnProgress | None,
    error: LastError | None = None,
    details: RunIncompleteDetails | None = None,
    left: list[str] | None = None,
) -> Ending:
    """End a run, and what is open in it, in one commit. The caller holds the lock of the thread.

    Args:
        ledger: Where it is written.
        owner: The run's.
        run: The run as it is.
        state: Its state, which goes.
        to: A terminal status.
        progress: The model call that has ended, or is broken off; ``None`` if there is none.
        error: Why the run failed.
        details: Why it is incomplete.
        left: Steps and messages that cannot be read are left as they are, and named here. ``None``: that is an error.
    """
    used, usage = state.step_usage or NO_USAGE, state.usage
    changes: list[Change] = []
    events: list[ApiEvent] = []
    forgotten: set[str] = set()
    if progress is not None:
        used, usage = progress.usage, add_usage(usage, progress.usage)
        if to in (RunStatus.COMPLETED, RunStatus.INCOMPLETE):
            forgotten = {step.id for step in progress.remembered}
            changes += forget(progress.remembered)
    steps = [step for id in state.steps if (step := await _step(ledger, run.id, id, left)) is not None]
    still_open = [step for step in steps if step.status == RunStepStatus.IN_PROGRESS and step.id not in forgotten]
    for step in still_open:
        share = used if step is still_open[-1] else NO_USAGE  # the API has no usage of half a model call
        if step.message_id is None:
            ending = end_calls(ledger, owner, step, to=to, usage=share, error=error)
        else:
            try:
                ending = await end_message(ledger, owner, step, progress, to=to, usage=share, error=error)
            except Exception as problem:
                _note(left, run.id, f"the message of step {step.id}", problem)
                ending = end_calls(ledger, owner, step, to=to, usage=share, error=error)
        changes += ending[0]
        events += ending[1]
    run = ended(run, to, ledger.now(), usage, last_error=error, incomplete_details=details)
    changes += [Record(owner, run), Delete(RunState, run.id)]
    await ledger.commit(changes, run.id, [*events, ApiEvent(f"thread.run.{to}", run)])
    return Ending(run, state.handle, tuple(left or ()))


async def end_unfinished(
    ledger: Ledger,
    owner: str,
    run_id: str,
    to: RunStatus,
    *,
    progress: TurnProgress | None = None,
    error: LastError | None = None,
) -> Ending:
    """End a run with what can be read of it, whatever else is damaged. The caller holds the lock of the thread.

    A run that is being cancelled becomes cancelled, however it was to end; one that has ended stays as it is, and only
    its state goes.

    Args:
        ledger: Where it is written.
        owner: The run's.
        run_id: Which run.
        to: ``failed``, ``cancelled`` or ``expired``.
        progress: The model call that is broken off; ``None`` if there is none.
        error: Why it failed.

    Raises:
        StoreUnavailableError: Not now; later it may work.
        Exception: Not even the run itself can be read, or written.
    """
    run = await ledger.get(Run, run_id)
    if run.status.is_terminal:
        await ledger.commit([Delete(RunState, run_id)])
        return Ending(run, was_over=True)
    if run.status is RunStatus.CANCELLING:
        to, error = RunStatus.CANCELLED, None
    left: list[str] = []
    state = await _state(ledger, run, left)
    try:
        return await end_run(ledger, owner, run, state, to, progress=progress, error=error, left=left)
    except Exception as problem:  # with what goes with the run, perhaps: it has to end all the same
        _note(left, run_id, "its steps and messages", problem)
        return await end_run(ledger, owner, run, evolve(state, steps=()), to, progress=None, error=error, left=left)


async def end_by_hand(store: Store, run_id: str, to: RunStatus, reason: str) -> Ending:
    """End a run of a store that no engine has, with what can be read of it. A run that has ended stays as it is.

    Args:
        store: An open store.
        run_id: Which run.
        to: ``failed`` or ``cancelled``.
        reason: The message of its ``last_error``; only of a failed one, the API has no place for others.

    Raises:
        LookupError: There is no such run.
        StoreDataError: The run itself cannot be read or written; the message says whether an engine takes it up.
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
        text = f"Run {run_id} itself cannot be read or written, and stays as it is. No start takes it up any more"
        raise StoreDataError(f"{text}: {problem.message}") from problem
    await ledger.commit([Delete(RunState, run_id)])
    raise LookupError(f"there is no run {run_id}")


async def _step(ledger: Ledger, run_id: str, id: str, left: list[str] | None) -> RunStep | None:
    try:
        return await ledger.get(RunStep, id)
    except Exception as problem:
        _note(left, run_id, f"step {id}", problem)
        return None


async def _state(ledger: Ledger, run: Run, left: list[str]) -> RunState:
    """A run's state; if it cannot be read, what must be known of it."""
    try:
        return await ledger.get(RunState, run.id)
    except Exception as problem:
        _note(left, run.id, "its state", problem)
    try:
        records, _ = await ledger.store.page(RunStep, run.id, PageQuery(limit=100))
    except Exception as problem:
        _note(left, run.id, "its steps", problem)
        records = ()
    steps = [record.value for record in reversed(records)]
    usage = reduce(add_usage, (step.usage for step in steps if step.usage is not None), NO_USAGE)
    ids = tuple(step.id for step in steps)
    return RunState(id=run.id, thread_id=run.thread_id, deadline=0, usage=usage, steps=ids)


def _note(left: list[str] | None, run_id: str, what: str, problem: Exception) -> None:
    """Note what a run ends without, in an ``except`` block; unless it must not, or later may end with it."""
    if left is None or isinstance(problem, StoreUnavailableError):
        raise problem
    left.append(f"{what}: {problem}")
    _logger.error("run %s ends without %s", run_id, what, exc_info=problem)
