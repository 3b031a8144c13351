"""`JobRetries`: which jobs of a batch are tried again, and when. Values only: nothing here reads a clock or waits."""

import hashlib
from collections.abc import Collection
from typing import Any, Final

from attrs import field, frozen, validators

from openai_runs._arguments import check_count, check_seconds
from openai_runs._habits import JOB_RETRIES, explained_init
from openai_runs._http.retries import is_final, may_be_done, server_delay
from openai_runs._wire.idempotency import MAX_LENGTH
from openai_runs.batch.jobs import BatchResult
from openai_runs.errors import RateLimitError, RunFailedError, ServerError, TransportError
from openai_runs.models.run import RunStatus

#: Seconds; a server that asks for a longer delay is asked again after these.
_LONGEST_HINT: Final = 3600.0


def _count(_: object, attribute: Any, value: object) -> None:
    check_count(f"JobRetries.{attribute.name}", value, least=1)


def _seconds(_: object, attribute: Any, value: object) -> None:
    check_seconds(f"JobRetries.{attribute.name}", value, zero=True)


def _codes(codes: Collection[str]) -> frozenset[str]:
    if isinstance(codes, str):
        raise TypeError(f"JobRetries.codes must be a collection of codes: got {codes!r}")
    return frozenset(codes)


@explained_init(JOB_RETRIES)
@frozen(kw_only=True)
class JobRetries:
    """Which jobs are tried again, and how long they wait for it. A job that waits occupies no worker.

    A run that failed is followed by another one, if the code of its ``last_error`` is among ``codes``. If an exception
    that is among ``errors`` kept a run from being started, its start is repeated, unless that could start a second one:
    the exception must leave no doubt (``maybe_done``), or the endpoint honour idempotency keys, which is found out
    first if it is not known yet; or then a look finds the run. If the exception kept
    only the messages of a completed run from being fetched, they are fetched again. A run that may still be active is
    never given up for another one. Nothing is repeated where that is known to be of no use: after
    ``x-should-retry: false``, if the account has no credit left, with a bad certificate.

    The delay is ``first`` seconds after the first attempt, is multiplied by ``factor`` after each further one, up to
    ``longest`` seconds, and is lengthened at random by up to a half, so that jobs that failed together do not return
    together. A longer ``Retry-After`` takes its place, up to an hour.
    """

    attempts: int = field(default=4, validator=_count)  #: how often a job is tried at most, the first time included
    codes: Collection[str] = field(default=("rate_limit_exceeded", "server_error"), converter=_codes)
    errors: tuple[type[Exception], ...] = (RateLimitError, ServerError, TransportError)
    first: float = field(default=5.0, validator=_seconds)
    factor: float = field(default=3.0, validator=[validators.ge(1), validators.le(10)])
    longest: float = field(default=60.0, validator=_seconds)

    def should_repeat(self, result: BatchResult, *, keys_honoured: bool | None) -> bool:
        """Whether a job is tried again.

        Args:
            result: What its latest attempt has come to.
            keys_honoured: Whether the endpoint honours idempotency keys; ``None`` if that is not known, and is found
                out before a start is repeated.
        """
        run, error = result.run, result.error
        if error is None or result.attempts >= self.attempts:
            return False
        if isinstance(error, RunFailedError):
            return error.run.last_error is not None and error.run.last_error.code in self.codes
        if not isinstance(error, self.errors) or is_final(error):
            return False
        if run is not None:
            return run.status is RunStatus.COMPLETED
        return keys_honoured is not False or not may_be_done(error)

    def delay(self, result: BatchResult, jitter: float) -> float:
        """Seconds until the next attempt.

        Args:
            result: What the latest attempt has come to.
            jitter: A random number from 0 to 1.
        """
        # The exponent is limited: many attempts must not overflow a float.
        own = min(self.first * self.factor ** min(result.attempts - 1, 64), self.longest)
        asked = (result.error and server_delay(result.error)) or 0.0
        return max(own, min(asked, _LONGEST_HINT)) * (1 + jitter / 2)


def key_of_run(key: str, failed: int) -> str:
    """The idempotency key of a job's next run.

    With the same key, an endpoint would return the run that failed. A batch that is started again makes the same keys.

    Args:
        key: The job's own key.
        failed: How many of its runs have failed.
    """
    if not failed:
        return key
    suffix = f".attempt-{failed + 1}"
    if len(key) + len(suffix) > MAX_LENGTH:
        key = hashlib.sha256(key.encode()).hexdigest()
    return key + suffix
