"""The lifecycle of a run: which status may follow which, and which events its snapshots make. No I/O, no clock.

`MOVES` has two readers. The engine refuses any move that is not in it. A follower sees only snapshots, and may miss
moves in between, so it accepts every status that is reachable by one or more moves.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import define, field

from openai_runs._evolving import evolve
from openai_runs.events import ActionRequired, RunEnded, StatusChanged
from openai_runs.models.run import Run, RunStatus

_logger = logging.getLogger("openai_runs.lifecycle")

_S = RunStatus

#: For each status, those that may come next. Sources: the API's documentation, and its users' reports.
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


#: The statuses in which a run has ended: they have no next one.
TERMINAL: Final = frozenset(status for status, following in MOVES.items() if not following)
#: The statuses in which a run changes by itself: neither has it ended, nor does it wait for anybody.
CHANGING: Final = tuple(status for status in MOVES if status not in TERMINAL and status is not _S.REQUIRES_ACTION)
#: The statuses in which a run can be cancelled.
CANCELLABLE: Final = frozenset(status for status, following in MOVES.items() if _S.CANCELLING in following)


def moved(run: Run, to: RunStatus, **changes: Any) -> Run:
    """Copy a run with another status; for the engine.

    Raises:
        RuntimeError: `MOVES` does not have that move, which is a bug of the caller.
    """
    if to not in MOVES.get(run.status, ()):
        raise RuntimeError(f"run {run.id} cannot go from {run.status} to {to}")
    return evolve(run, status=to, **changes)


def _reachable_from(start: RunStatus) -> frozenset[RunStatus]:
    reached: set[RunStatus] = set()
    following: Iterable[RunStatus] = MOVES[start]
    while new := set(following) - reached:
        reached |= new
        following = {after for status in new for after in MOVES[status]}
    return frozenset(reached)


#: For each status, all that can come later.
REACHABLE: Final[Mapping[RunStatus, frozenset[RunStatus]]] = {status: _reachable_from(status) for status in MOVES}

_EVENT_FOR: Final[Mapping[RunStatus, type[StatusChanged]]] = {
    _S.REQUIRES_ACTION: ActionRequired,
    **dict.fromkeys(TERMINAL, RunEnded),
}


@define
class RunLifecycle:
    """Turns the snapshots of one run into events, each change once."""

    #: Whether a terminal snapshot has been observed, and so `RunEnded` been returned.
    has_ended: bool = field(default=False, init=False)
    _latest: tuple[RunStatus, object] | None = field(default=None, init=False)  # status and round

    def observe(self, run: Run, round: object = None) -> StatusChanged | None:
        """Compare a snapshot with the previous one.

        Args:
            run: The snapshot.
            round: Identifies the round of tool calls that the run waits in, if it does. Between two polls a run may
                continue and require action again: then the round changes, and the status does not.

        Returns:
            `ActionRequired`, `RunEnded`, or a plain `StatusChanged` for other statuses, unknown ones included; ``None``
            if nothing has changed.
        """
        latest = (run.status, round)
        if latest == self._latest:
            return None
        previous = self._latest and self._latest[0]
        self._latest, self.has_ended = latest, run.status.is_terminal
        if previous and previous in REACHABLE and run.status in REACHABLE and run.status not in REACHABLE[previous]:
            # Reported anyway: a server that reads from a stale replica is no reason to stop following the run.
            _logger.warning(
                "run %s went from %s to %s, a move that the API does not have", run.id, previous, run.status
            )
        return _EVENT_FOR.get(run.status, StatusChanged)(run=run, previous=previous)
