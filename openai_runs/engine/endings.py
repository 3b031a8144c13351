"""How a run ends, and with it the message and the steps that were open."""

from collections.abc import Mapping, Sequence
from typing import Final

from openai_runs.engine.ledger import Ledger
from openai_runs.engine.model_call import (
    Progress,
    add_usage,
    ended_message,
    ended_step,
    message_id_of,
)
from openai_runs.engine.moves import ended
from openai_runs.engine.published import Published
from openai_runs.engine.records import NO_USAGE, Change, Delete, Record, RunState
from openai_runs.models.message import Message
from openai_runs.models.run import LastError, Run, RunIncompleteDetails, RunStatus, Usage
from openai_runs.models.run_step import RunStep, RunStepStatus

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

Batch = tuple[list[Change], list[Published]]


async def end_message(
    ledger: Ledger,
    owner: str,
    step: RunStep,
    progress: Progress | None,
    *,
    to: RunStatus = RunStatus.COMPLETED,
    usage: Usage = NO_USAGE,
    error: LastError | None = None,
) -> Batch:
    """End the message that a step writes, and then the step; as changes and events, nothing is committed."""
    message = await ledger.get(Message, message_id_of(step) or "")
    content, reason, now = message.content, _MESSAGE_REASON.get(to), ledger.now()
    if progress is not None and progress.writing is not None and progress.writing.step_id == step.id:
        content = progress.writing.content
        if to is RunStatus.INCOMPLETE and progress.reason in ("max_tokens", "content_filter"):
            reason = progress.reason  # else the text is whole, and it is the run that has used too much
    message = ended_message(message, content, now, reason)
    step = ended_step(step, _STEP_STATUS[to], now, usage=usage, error=error)
    events = [Published(f"thread.message.{message.status}", message), Published(f"thread.run.step.{step.status}", step)]
    return [Record(owner, message), Record(owner, step)], events


def end_calls(
    ledger: Ledger, owner: str, step: RunStep, *, to: RunStatus, usage: Usage, error: LastError | None = None
) -> Batch:
    """End a step of tool calls; as changes and events, nothing is committed."""
    if to is RunStatus.INCOMPLETE:
        to, error = RunStatus.FAILED, _CUT_OFF
    step = ended_step(step, _STEP_STATUS[to], ledger.now(), usage=usage, error=error)
    return [Record(owner, step)], [Published(f"thread.run.step.{step.status}", step)]


def forget(steps: Sequence[RunStep]) -> list[Change]:
    """Take back what an interrupted call had begun and its repetition has no use for: nothing was ever in it."""
    changes: list[Change] = []
    for step in steps:
        if step.status == RunStepStatus.IN_PROGRESS:
            changes.append(Delete(RunStep, step.id))
            if (message_id := message_id_of(step)) is not None:
                changes.append(Delete(Message, message_id))
    return changes


async def end_run(
    ledger: Ledger,
    owner: str,
    run: Run,
    state: RunState,
    to: RunStatus,
    *,
    progress: Progress | None,
    error: LastError | None = None,
    details: RunIncompleteDetails | None = None,
) -> None:
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
    """
    used, usage = state.step_usage or NO_USAGE, state.usage
    changes: list[Change] = []
    events: list[Published] = []
    forgotten: set[str] = set()
    if progress is not None:
        used, usage = progress.usage, add_usage(usage, progress.usage)
        if to in (RunStatus.COMPLETED, RunStatus.INCOMPLETE):
            forgotten = {step.id for step in progress.remembered}
            changes += forget(progress.remembered)
    steps = [await ledger.get(RunStep, id) for id in state.steps]
    still_open = [step for step in steps if step.status == RunStepStatus.IN_PROGRESS and step.id not in forgotten]
    for step in still_open:
        share = used if step is still_open[-1] else NO_USAGE  # the API has no usage of half a model call
        if message_id_of(step) is None:
            ending = end_calls(ledger, owner, step, to=to, usage=share, error=error)
        else:
            ending = await end_message(ledger, owner, step, progress, to=to, usage=share, error=error)
        changes += ending[0]
        events += ending[1]
    run = ended(run, to, ledger.now(), usage, last_error=error, incomplete_details=details)
    changes += [Record(owner, run), Delete(RunState, run.id)]
    await ledger.commit(changes, run.id, [*events, Published(f"thread.run.{to}", run)])
