"""A run's moves from status to status; the engine makes no other than those of `openai_runs.lifecycle`."""

from datetime import datetime
from typing import Any, Final

from attrs import evolve

from openai_runs.lifecycle import MOVES
from openai_runs.models.run import Run, RunStatus, Usage


def moved(run: Run, to: RunStatus, **changes: Any) -> Run:
    """Move a run to another status.

    Raises:
        RuntimeError: The table of moves does not have that; a bug of the engine.
    """
    if to not in MOVES.get(run.status, ()):
        raise RuntimeError(f"run {run.id} cannot go from {run.status} to {to}")
    return evolve(run, status=to, **changes)


#: The field that says when. The API has none for ``incomplete`` and ``expired``; the hosted one took ``completed_at``
#: for the latter.
_TIME_OF: Final = {RunStatus.CANCELLED: "cancelled_at", RunStatus.FAILED: "failed_at"}


def ended(run: Run, to: RunStatus, now: datetime, usage: Usage, **changes: Any) -> Run:
    """Move a run to a terminal status."""
    changes[_TIME_OF.get(to, "completed_at")] = now
    return moved(run, to, required_action=None, expires_at=None, usage=usage, **changes)
