"""`Rounds`: tells the rounds of a run's tool calls apart, and snapshots that are older than the latest submission.

Some endpoints count the IDs of calls from ``call_0`` in each round, and replicas lag behind. So right after outputs
were accepted, the very same calls are either an old snapshot or a new round: then the round is in doubt. With a
toolbox, submitting the same outputs again tells, and no tool is called for it; without one, only time does.

No I/O and no clock: the time is passed in.
"""

import copy
import json
from collections.abc import Iterable
from enum import Enum, auto
from typing import Final

from attrs import define, field, frozen

from openai_runs.events import ActionRequired, StatusChanged
from openai_runs.lifecycle import RunLifecycle
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.tool import ToolOutput
from openai_runs.toolbox.memory import settle

#: Seconds after tool outputs were accepted, or refused as not required, in which the same calls are taken for a stale
#: snapshot: of a replica that lags behind.
_REPLICA_LAG: Final = 2.0


def required(run: Run) -> object:
    """What a run requires, comparable: equal for two snapshots of the same round of tool calls.

    Returns:
        The IDs, names and arguments of the calls, or the whole action if it has no function calls; ``None`` unless the
        run is in ``requires_action``.
    """
    if run.status is not RunStatus.REQUIRES_ACTION:
        return None
    # Some endpoints count their IDs from call_0 in each round: IDs alone do not tell one round from the next.
    calls = run.pending_tool_calls
    wanted = frozenset((call.id, call.function.name, _normalized(call.function.arguments)) for call in calls)
    return wanted or run.required_action or ()


def _normalized(arguments: str) -> str:
    """Arguments without the differences between two ways to write the same JSON."""
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except (ValueError, RecursionError):  # written by a model: it may be anything
        return arguments


@define(eq=False)
class Submissions:
    """Counts the tool outputs that a run's endpoint has accepted; shared by all who follow the run in one session."""

    accepted: int = 0

    def accept(self, outputs: Iterable[object]) -> None:
        """Note that the endpoint has accepted these outputs: their round is over."""
        self.accepted += 1
        settle(outputs)


@frozen
class Submission:
    """The outputs of one round, on their way to the endpoint."""

    outputs: tuple[ToolOutput, ...]
    wanted: object  #: what the run requires, as `required` says
    was_in_doubt: bool  #: whether they may have been accepted before


class _Age(Enum):
    """How old a snapshot is, compared with the latest submission."""

    NEW = auto()
    DOUBTFUL = auto()  # it has the calls that were answered last
    STALE = auto()  # the same, and there is nothing to do but to wait


@define
class Rounds:
    """Turns the snapshots of one run into events, round by round."""

    _submissions: Submissions
    _can_repeat: bool  # whether there is a toolbox, so that the same outputs can be submitted again
    pending_action: ActionRequired | None = field(default=None, init=False)  #: observed, and not answered yet
    #: Whether `pending_action` may be stale: it has the calls that were answered last. Reported once they are accepted.
    is_in_doubt: bool = field(default=False, init=False)
    _number: int = field(init=False)  # how many submissions have been taken into account
    _lifecycle: RunLifecycle = field(factory=RunLifecycle, init=False)
    _pending: object = field(default=None, init=False)  # what the latest snapshot requires, unless it has been given
    _before_doubt: tuple[RunLifecycle, object] | None = field(default=None, init=False)  # the two of them
    # What was answered last. It counts as stale while no snapshot has shown the run beyond it.
    _answered: object = field(default=None, init=False)
    _stale_until: float = field(default=0.0, init=False)  # until then, nothing is done about a stale snapshot
    _latest: Submission | None = field(default=None, init=False)  # of the toolbox's outputs

    def __attrs_post_init__(self) -> None:
        self._number = self._submissions.accepted

    @property
    def has_ended(self) -> bool:
        """Whether a terminal snapshot has been observed, and so `RunEnded` been returned."""
        return self._lifecycle.has_ended

    def observe(self, run: Run, *, is_current: bool, now: float) -> StatusChanged | None:
        """Compare a snapshot with the one observed before it.

        Args:
            run: The snapshot.
            is_current: Whether a poll or a stream sent it, rather than the response to a submission.
            now: The time.

        Returns:
            The change, for the caller to report, unless `is_in_doubt`; ``None`` if there is none.
        """
        self._note_submissions(now)
        wanted = required(run)
        age = self._age(wanted, is_current=is_current, now=now)
        self.is_in_doubt = age is _Age.DOUBTFUL
        if age is _Age.STALE:
            return None
        if age is _Age.DOUBTFUL:
            self._before_doubt = copy.copy(self._lifecycle), self._pending
        elif is_current and wanted != self._answered:  # the endpoint has taken the submission in
            self._answered = None
        self._pending = wanted
        change = self._lifecycle.observe(run, None if wanted is None else (self._number, wanted))
        if change is not None:
            self.pending_action = change if isinstance(change, ActionRequired) else None
        return change

    def trust(self, now: float) -> None:
        """The next snapshot comes from a stream, which began after the latest submission: it is not stale."""
        self._note_submissions(now)
        self._answered = None

    def _note_submissions(self, now: float) -> None:
        """Begin a new round if outputs were accepted, whoever in this session has submitted them."""
        accepted = self._submissions.accepted
        if accepted == self._number:
            return
        self._number = accepted
        self._answered, self._pending = self._pending, None
        self._stale_until = 0.0 if self._can_repeat else now + _REPLICA_LAG

    def _age(self, wanted: object, *, is_current: bool, now: float) -> _Age:
        """How old a snapshot is that requires this."""
        if self._answered is None or wanted != self._answered:
            return _Age.NEW
        if not is_current or now < self._stale_until:
            return _Age.STALE
        return _Age.DOUBTFUL if self._can_repeat else _Age.NEW

    def outputs_to_repeat(self, run: Run) -> tuple[ToolOutput, ...] | None:
        """The outputs that a run in doubt gets again, since no tool is called again for what may be the same round."""
        latest = self._latest
        return latest.outputs if self.is_in_doubt and latest and latest.wanted == required(run) else None

    def begin_submission(self, run: Run, outputs: tuple[ToolOutput, ...]) -> Submission:
        """Note that these outputs are being submitted: the action that the run requires is taken."""
        self._latest = Submission(outputs, required(run), self.is_in_doubt)
        self.pending_action, self.is_in_doubt = None, False
        return self._latest

    def end_refused(self, submission: Submission, run: Run | None, now: float) -> bool:
        """Note that the endpoint has refused a submission.

        Args:
            submission: The submission.
            run: The run, as it was fetched after that.
            now: The time.

        Returns:
            Whether the run goes on without it; otherwise the outputs themselves are at fault.
        """
        if submission.was_in_doubt and self._before_doubt is not None:  # a stale snapshot: as if it was not observed
            self._lifecycle, self._pending = self._before_doubt
            self._stale_until = now + _REPLICA_LAG
        elif run is not None and required(run) == submission.wanted:
            return False
        settle(submission.outputs)
        return True
