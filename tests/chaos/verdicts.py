"""What a caller saw of a run, and whether that is true: judged by what the server has."""

from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import anyio
from attrs import define, field, frozen

from openai_runs.errors import OpenAIRunsError, RunDeadlineError, RunError
from openai_runs.events import ActionRequired, RunEnded, StatusChanged, ToolOutputsSubmitted
from openai_runs.following.streaming import RunStream
from openai_runs.models.delta import MessageDelta
from openai_runs.models.run import Run
from openai_runs.models.tool import ToolOutput
from tests.chaos.causes import Raise

#: Outcomes that keep every promise; all others are defects.
SOUND = (
    "ended as the server says",
    "raised with doubt",
    "raised, the run is known",
    "raised, nothing was started",
)
#: No defect either. Where keys are not honoured, a request that arrives when it has been looked for, and its repetition
#: has ended, starts a run: there is nothing by which the server could know it.
LATE = "a late request, without keys, has started another run"


@define
class Seen:
    """What a caller saw of one job."""

    job: str
    known: Run | None = None  #: the latest snapshot in the caller's hands
    error: BaseException | None = None
    is_over: bool = False  #: whether the iteration ended by itself
    statuses: list[StatusChanged] = field(factory=list)
    texts: dict[str, str] = field(factory=dict)  #: by message
    submitting: bool = False  #: whether the error came from submitting outputs by hand
    accepted: set[str] = field(factory=set)  #: the calls whose outputs have arrived, as the caller knows
    counts_from: float | None = None  #: when the deadline began to count
    raised_at: float = 0.0
    starts: int = 1  #: how often a batch has tried to start its run

    def note(self, event: Any) -> None:
        if isinstance(event, StatusChanged):
            self.statuses.append(event)
            self.known = event.run
        if isinstance(event, ToolOutputsSubmitted):
            self.accept(event.outputs)
        if isinstance(event, MessageDelta):
            self.texts[event.id] = self.texts.get(event.id, "") + event.text

    def accept(self, outputs: Iterable[ToolOutput]) -> None:
        self.submitting = False
        self.accepted |= {output.tool_call_id for output in outputs}

    def begin(self) -> None:
        """The deadline begins to count."""
        self.counts_from = anyio.current_time()

    def fail(self, error: BaseException, stream: RunStream | None = None) -> None:
        self.error, self.raised_at = error, anyio.current_time()
        if stream is not None:
            with suppress(RuntimeError):  # no snapshot has come
                self.known = stream.run


@frozen
class Verdict:
    """What became of a job."""

    kind: str
    detail: str = ""
    raised: Raise | None = None  #: if it has raised instead of ending as the server says

    @property
    def is_defect(self) -> bool:
        return self.kind not in (*SOUND, LATE)


def bad_sequence(seen: Seen) -> str | None:
    """What is wrong with the events, if something is."""
    statuses = [event.status for event in seen.statuses]
    asked = [frozenset(call.id for call in e.tool_calls) for e in seen.statuses if isinstance(e, ActionRequired)]
    ends = [index for index, event in enumerate(seen.statuses) if isinstance(event, RunEnded)]
    if len(set(asked)) < len(asked):
        return f"calls asked for twice: {asked}"
    if ends and ends != [len(statuses) - 1]:
        return f"ends at {ends} of {len(statuses)}"
    if any(one == other != "requires_action" for one, other in pairwise(statuses)):
        return f"a status twice: {statuses}"
    return None


def judge_end(seen: Seen, run: Run | None, *, outputs_arrived: bool) -> Verdict:
    """Whether what the caller was told is true, or admits not to know."""
    error, said = seen.error, f"{seen.job}: {seen.error!r}, server: {run and run.status}"
    if error is None:
        if run is None or seen.known is None or not seen.known.status.is_terminal:
            return Verdict("ended silently", f"{said}, told {seen.known and seen.known.status}")
        same = (seen.known.id, seen.known.status) == (run.id, run.status) and seen.known.usage == run.usage
        return Verdict(SOUND[0]) if same else Verdict("another outcome", f"{said}, told {seen.known.status}")
    if not isinstance(error, OpenAIRunsError):
        return Verdict("raised something else", said)
    if isinstance(error, RunError) and not isinstance(error, RunDeadlineError):
        same = run is not None and (error.run.id, error.run.status) == (run.id, run.status)
        return Verdict(SOUND[0]) if same else Verdict("another outcome", f"{said}, told {error.run.status}")
    if run is None:
        return Verdict("raised, nothing was started")
    is_doubt = getattr(error, "maybe_done", False)
    if outputs_arrived and not is_doubt:
        return Verdict("raised without doubt, outputs arrived", said)
    if is_doubt:
        return Verdict("raised with doubt")
    return Verdict("raised, the run is known") if seen.known is not None else Verdict("raised without doubt", said)
