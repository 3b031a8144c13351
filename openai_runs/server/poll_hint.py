"""How soon a client should ask for a run again: ``openai-poll-after-ms``."""

import time
from collections.abc import Callable

from attrs import field, frozen, validators

from openai_runs.models.run import Run


@frozen(kw_only=True)
class PollHint:
    """A share of the run's age: a young run is asked for often, an old one rarely, and each is seen soon after it ends.

    All in seconds. Waiting ``share`` of the age makes a run appear to take at most that much longer than it did. While
    many runs are pending, ``most`` questions a second are wanted for all of them together, since to answer them takes
    time that the runs need; openai-python, for one, goes on at the pace of the first hint that it gets.
    """

    shortest: float = field(default=0.05, validator=validators.gt(0))
    share: float = 0.1
    longest: float = 5.0
    most: float = field(default=2000.0, validator=validators.gt(0))
    now: Callable[[], float] = time.time  #: Unix time

    def delay(self, run: Run, pending: int = 1) -> float | None:
        """Seconds until the next question; ``None`` once the run has ended.

        Args:
            run: The run.
            pending: How many runs execute or wait for their turn.
        """
        if run.status.is_terminal:
            return None
        age = self.now() - run.created_at.timestamp()
        return max(self.shortest, min(max(age * self.share, pending / self.most), self.longest))
