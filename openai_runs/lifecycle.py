"""The life of a run: which status may follow which, and what a follower tells of it. No I/O, no clock.

One table with two readers: the engine refuses any move that is not in it; a follower, who sees only snapshots,
takes whatever can be reached by several moves.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import define, evolve, field

from openai_runs.events import ActionRequired, RunEnded, StatusChanged
from openai_runs.models.run import Run, RunStatus

_logger = logging.getLogger("openai_runs.lifecycle")

_S = RunStatus

#: From each status, the ones that may come next. Sources: the API's documents, and reports of its users.
MOVES: Final[Mapping[RunStatus, frozenset[RunStatus]]] = {
    _S.QUEUED: frozenset({_S.IN_PROGRESS, _S.CANCELLING, _S.CANCELLED, _S.EXPIRED, _S.FAILED}),
    _S.IN_PROGRESS: frozenset(
        {_S.REQUIRES_ACTION, _S.CANCELLING, _S.CANCELLED, _S.COMPLETED, _S.INCOMPLETE, _S.FAILED, _S.EXPIRED}
    ),
    _S.REQUIRES_ACTION: frozenset({_S.QUEUED, _S.CANCELLING, _S.CANCELLED, _S.EXPIRED, _S.FAILED}),
    # Cancelling is attempted, not guaranteed: the run may still end in any way.
    _S.CANCELLING: frozenset({_S.CANCELLED, _S.COMPLETED, _S.INCOMPLETE, _S.FAILED, _S.EXPIRED}),
    _S.CANCELLED: frozenset(),
    _S.FAILED: frozenset(),
    _S.COMPLETED: frozenset(),
    _S.INCOMPLETE: frozenset(),
    _S.EXPIRED: frozenset(),
}


#: Where a run has ended: no move leads on.
TERMINAL: Final = frozenset(status for status, ahead in MOVES.items() if not ahead)
#: Where a run can be asked to stop.
CANCELLABLE: Final = frozenset(status for status, ahead in MOVES.items() if _S.CANCELLING in ahead)


def moved(run: Run, to: RunStatus, **changes: Any) -> Run:
    """Move a run to another status; for who executes it.

    Raises:
        RuntimeError: The table does not have that move: a bug of whoever asks for it.
    """
    if to not in MOVES.get(run.status, ()):
        raise RuntimeError(f"run {run.id} cannot go from {run.status} to {to}")
    return evolve(run, status=to, **changes)


def _reach(start: RunStatus) -> frozenset[RunStatus]:
    seen: set[RunStatus] = set()
    ahead: Iterable[RunStatus] = MOVES[start]
    while ahead := set(ahead) - seen:
        seen |= ahead
        ahead = {after for status in ahead for after in MOVES[status]}
    return frozenset(seen)


#: From each status, all that can come later.
REACHABLE: Final[Mapping[RunStatus, frozenset[RunStatus]]] = {status: _reach(status) for status in MOVES}

_EVENT_FOR: Final[Mapping[RunStatus, type[StatusChanged]]] = {
    _S.REQUIRES_ACTION: ActionRequired,
    **dict.fromkeys(TERMINAL, RunEnded),
}


@define
class RunLifecycle:
    """The story of one run so far: snapshots in, events out."""

    _seen: tuple[RunStatus, frozenset[str]] | None = field(default=None, init=False)

    @property
    def has_ended(self) -> bool:
        """Whether the end has been observed, and so told."""
        return self._seen is not None and self._seen[0].is_terminal

    def observe(self, run: Run) -> StatusChanged | None:
        """Take the next snapshot.

        Returns:
            What has changed since the one before: `ActionRequired`, `RunEnded`, or a plain `StatusChanged`, also for
            a status this library does not know. ``None`` if nothing has.
        """
        # Between two polls a run may go on and come back for more: a second requires_action
        # is told from the first by its tool-call IDs, not by its status.
        calls = run.pending_tool_calls if run.status is RunStatus.REQUIRES_ACTION else ()
        now = (run.status, frozenset(call.id for call in calls))
        if now == self._seen:
            return None
        previous = self._seen and self._seen[0]
        self._seen = now
        if previous and previous in REACHABLE and run.status in REACHABLE and run.status not in REACHABLE[previous]:
            # Told all the same: a server behind a stale replica is no reason to leave a run alone.
            _logger.warning("run %s went from %s to %s, which the API does not have", run.id, previous, run.status)
        return _EVENT_FOR.get(run.status, StatusChanged)(run=run, previous=previous)
