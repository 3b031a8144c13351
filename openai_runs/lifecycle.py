"""The lifecycle of a run: which status may follow which, and which events its snapshots make. No I/O, no clock.

`MOVES` has two readers. The engine refuses any move that is not in it. A follower sees only snapshots, and may miss
moves in between, so it accepts every status that is reachable by one or more moves.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import define, evolve, field

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


@define
class RunLifecycle:
    """Turns the snapshots of one run into events, each change once."""

    _latest: tuple[RunStatus, object] | None = field(default=None, init=False)  # status, and what is required

    @property
    def pending(self) -> object:
        """What the latest snapshot requires, as `required` returns it; ``None`` after `begin_round`."""
        return self._latest and self._latest[1]

    def begin_round(self) -> None:
        """What was required has been given: if it is required again, that is a change."""
        if self._latest is not None:
            self._latest = (self._latest[0], None)

    @property
    def has_ended(self) -> bool:
        """Whether a terminal snapshot has been observed, and so `RunEnded` been returned."""
        return self._latest is not None and self._latest[0].is_terminal

    def observe(self, run: Run) -> StatusChanged | None:
        """Compare a snapshot with the previous one.

        Returns:
            `ActionRequired`, `RunEnded`, or a plain `StatusChanged` for other statuses, unknown ones included; ``None``
            if nothing has changed.
        """
        # Between two polls a run may continue and require action again: a second requires_action
        # differs from the first by its tool calls, not by its status.
        latest = (run.status, required(run))
        if latest == self._latest:
            return None
        previous = self._latest and self._latest[0]
        self._latest = latest
        if previous and previous in REACHABLE and run.status in REACHABLE and run.status not in REACHABLE[previous]:
            # Reported anyway: a server that reads from a stale replica is no reason to stop following the run.
            _logger.warning(
                "run %s went from %s to %s, a move that the API does not have", run.id, previous, run.status
            )
        return _EVENT_FOR.get(run.status, StatusChanged)(run=run, previous=previous)
