"""How often a run is asked for. No clock: delays are values."""

from typing import Any

from attrs import field, frozen, validators

from openai_runs._arguments import check_seconds


def _seconds(_: object, attribute: Any, value: object) -> None:
    name = attribute.name
    check_seconds(f"Polling.{name}", value, zero=name == "outage", none=name == "queued_timeout")


@frozen(kw_only=True)
class Polling:
    """How often a follower asks. The server's hint, ``openai-poll-after-ms``, wins over it on every answer.

    Waiting starts at ``first`` seconds after each change and grows by ``factor`` with each answer that
    brings nothing new, up to ``longest`` seconds.
    """

    first: float = field(default=0.25, validator=_seconds)
    factor: float = field(default=1.5, validator=[validators.ge(1), validators.le(10)])
    longest: float = field(default=5.0, validator=_seconds)
    #: Seconds a run may stay ``queued`` at a stretch before following it raises `RunStuckError`. ``None``: for ever.
    queued_timeout: float | None = field(default=600.0, validator=_seconds)
    #: Seconds at a stretch that the endpoint may be out of reach, retries included, before following gives up.
    outage: float = field(default=60.0, validator=_seconds)

    def delay(self, unchanged: int, hint: float | None = None) -> float:
        """Seconds until the next question.

        Args:
            unchanged: How many answers in a row have brought nothing new.
            hint: The server's wish, in seconds.
        """
        if hint is not None:
            return max(hint, 0.0)
        # min() on the exponent as well: a run that is polled for days must not overflow a float.
        return min(self.first * self.factor ** min(unchanged, 64), self.longest)
