"""`RunCosts`: how many tokens a run is expected to use, and which runs have yet to say how many they used. No I/O."""

from collections import OrderedDict
from typing import Final

from attrs import define, field

#: How many runs the mean goes over; the more recent, the more one counts.
_REMEMBERED: Final = 100
#: Seconds; a run that has not ended by then is forgotten. The API's runs expire after 600.
_FORGOTTEN_AFTER: Final = 3600.0


@define
class RunCosts:
    """The tokens of a session's runs.

    A run is charged what it is expected to use when it is created, and the difference when its end is seen. A charge
    holds nothing back for longer than the limit needs to allow as much again; so a run whose end is never seen only
    keeps a place here, for an hour.
    """

    estimate: float  #: tokens that the next run is expected to use
    _ended: int = field(default=0, init=False)  # runs that the estimate is the mean of
    _open: OrderedDict[str, tuple[float, float]] = field(factory=OrderedDict, init=False)  # tokens charged, and when

    def start(self, run_id: str, charged: float, now: float) -> None:
        """Note what was charged for a run that has been created."""
        while self._open and next(iter(self._open.values()))[1] <= now - _FORGOTTEN_AFTER:
            self._open.popitem(last=False)
        self._open[run_id] = charged, now

    def end(self, run_id: str, used: float | None) -> float:
        """Settle a run that has ended.

        Args:
            run_id: The run.
            used: The tokens that it used, if the endpoint says so.

        Returns:
            Tokens that are to be charged yet; negative if they are to be given back.
        """
        entry = self._open.pop(run_id, None)
        if entry is None or used is None:
            return 0.0
        self._ended = min(self._ended + 1, _REMEMBERED)
        self.estimate += (used - self.estimate) / self._ended
        return used - entry[0]
