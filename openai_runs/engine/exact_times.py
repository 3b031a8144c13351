"""`ExactTimes`: when runs and steps have begun and ended, to the fraction of a second; the API has whole seconds.

It is kept in memory, of the latest ones that this engine has seen from their beginning.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

from attrs import define, field

from openai_runs._evolving import evolve
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.run_step import RunStep, RunStepStatus
from openai_runs.stores.records import Change, Record

ValueT = TypeVar("ValueT", Run, RunStep)

#: Runs and steps.
_MOST: Final = 10_000
#: Seconds that ``created_at`` may be off: what a run makes is dated at least a second after it.
_OFF: Final = 1.0
_ENDS: Final = ("completed_at", "failed_at", "cancelled_at", "expired_at")


@define
class _Times:
    """Unix seconds."""

    created: float
    started: float | None = None
    ended: float | None = None


@define
class ExactTimes:
    """The times of runs and steps, by their IDs."""

    _known: dict[str, _Times] = field(factory=dict, init=False)

    def note(self, changes: Sequence[Change], now: float) -> None:
        """Note what has been stored, now."""
        for change in changes:
            value = change.value if change.__class__ is Record else None
            if isinstance(value, Run):
                self._note(value, now, begins=value.status is RunStatus.QUEUED, ends=value.status.is_terminal)
                times = self._known.get(value.id)
                if times is not None and times.started is None and value.status is RunStatus.IN_PROGRESS:
                    times.started = now
            elif isinstance(value, RunStep):
                # What a model has answered at once is stored at once: such a step is never seen open.
                self._note(value, now, begins=True, ends=value.status is not RunStepStatus.IN_PROGRESS)

    def _note(self, value: Run | RunStep, now: float, *, begins: bool, ends: bool) -> None:
        times = self._known.get(value.id)
        if times is None:
            if not begins or abs(now - value.created_at.timestamp()) > _OFF:  # an earlier engine's
                return
            if len(self._known) >= _MOST:
                del self._known[next(iter(self._known))]
            times = self._known[value.id] = _Times(now)
        if ends and times.ended is None:
            times.ended = now

    def of(self, value: ValueT) -> ValueT:
        """A run or a step with these times in place of its own, as far as they are known."""
        times = self._known.get(value.id)
        if times is None:
            return value
        changes = {"created_at": _time(times.created)}
        if getattr(value, "started_at", None) is not None and times.started is not None:
            changes["started_at"] = _time(times.started)
        if times.ended is not None:
            changes |= {name: _time(times.ended) for name in _ENDS if getattr(value, name, None) is not None}
        return evolve(value, **changes)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
