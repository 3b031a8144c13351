"""`Outage`: since when a batch's endpoint is away, and whether that is still borne. No clock: times are passed in."""

import math

from attrs import define, field


@define
class Outage:
    """An outage of a batch's endpoint, if there is one."""

    patience: float  #: seconds for which it is borne
    _began: float = field(default=math.inf, init=False)

    def begin(self, now: float) -> None:
        """Note that the endpoint could not be reached. If that is so already, nothing changes."""
        self._began = min(self._began, now)

    def end(self) -> None:
        """Note that the endpoint has answered."""
        self._began = math.inf

    def is_borne(self, now: float) -> bool:
        """Whether an outage that has begun is not yet longer than the patience."""
        return now - self._began < self.patience
