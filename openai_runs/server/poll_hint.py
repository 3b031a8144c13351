"""How soon a client should poll a run again: the header ``openai-poll-after-ms``."""

import time
from collections.abc import Callable
from typing import Final

from attrs import field, frozen, validators

from openai_runs.models.completion_window import WINDOW_SECONDS
from openai_runs.models.run import Run, RunStatus

_EXECUTING: Final = frozenset({RunStatus.QUEUED, RunStatus.IN_PROGRESS})


@frozen(kw_only=True)
class PollHint:
    """The delay is a share of the run's age, so a new run is polled often and an old one rarely.

    The age counts from when the run last began to be worked on: after tool outputs, it is polled like a new one.

    ``shortest`` and ``longest`` are seconds. With ``share`` at 0.1, a client sees the end of a run at most 10 % later
    than it came. ``max_rate`` limits the polls per second of all pending runs together, since responding to them takes
    time that the runs need; openai-python, for one, keeps polling at the pace of the first hint it gets.

    While a run with a ``completion_window`` executes, the delay is at least ``window_share`` of the window, such as two
    minutes of two hours: the engine does not look at its model call more often either.
    """

    shortest: float = field(default=0.05, validator=validators.gt(0))
    share: float = 0.1
    longest: float = 5.0
    max_rate: float = field(default=2000.0, validator=validators.gt(0))
    window_share: float = 1 / 60
    now: Callable[[], float] = time.time  #: Unix time

    def delay(self, run: Run, pending: int = 1, since: float | None = None) -> float | None:
        """Seconds until the next poll; ``None`` once the run has ended.

        Args:
            run: The run.
            pending: How many runs execute or are queued.
            since: When the run last began to be worked on, in Unix time. ``None``: when it was created.
        """
        if run.status.is_terminal:
            return None
        age = self.now() - (run.created_at.timestamp() if since is None else since)
        usual = max(self.shortest, min(max(age * self.share, pending / self.max_rate), self.longest))
        if run.completion_window is None or run.status not in _EXECUTING:
            return usual
        return max(usual, WINDOW_SECONDS.get(run.completion_window, 0.0) * self.window_share)
