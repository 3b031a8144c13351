"""When a failed request is repeated, and what has to be known before. No HTTP: who sends is told by a function."""

import logging
import math
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Final, Generic, TypeAlias, TypeVar

from attrs import define, field

from openai_runs.errors import ProtocolError, ResponseError, TransportError

_logger = logging.getLogger("openai_runs.retries")
# stamina warns of each repetition; where logging is not set up, that would be a bare "stamina.retry_scheduled" on the
# screen, which says neither what is repeated nor why. Ours does; who has set up logging gets both.
logging.getLogger("stamina").addHandler(logging.NullHandler())

T = TypeVar("T")
Failure: TypeAlias = TransportError | ResponseError | ProtocolError

FAILURES: Final = (TransportError, ResponseError, ProtocolError)

#: A server that asks for more patience than this, in seconds, is told to the caller instead.
_LONGEST_SERVER_DELAY: Final = 120.0


@define
class Repetition(Generic[T]):
    """A request that has failed once: wait, find out what it has done, repeat it, and in the end give up."""

    send: Callable[[], Awaitable[T]]
    failure: Failure  #: the latest
    #: Finds out whether the request had its effect; the result if it had.
    find: Callable[[], Awaitable[T | None]] | None
    repeatable: bool = field(kw_only=True)  #: whether doing it twice does no more than doing it once
    _doubt: Failure | None = field(default=None, init=False)  #: of an attempt that may have had its effect

    def __attrs_post_init__(self) -> None:
        self._note(self.failure)

    async def run(self, max_retries: int) -> T:
        """Repeat up to so many times.

        Raises:
            TransportError, ResponseError, ProtocolError: The latest failure.
        """
        import stamina  # nothing else needs it, and most programs never do

        attempts = stamina.retry_context(
            on=self._wait, attempts=max_retries + 1, timeout=None, wait_initial=0.5, wait_max=8.0, wait_jitter=0.5
        )
        try:
            async for attempt in attempts:
                with attempt:
                    if attempt.num == 1:  # that one is over: hand its failure to the machinery
                        raise self.failure
                    return await self._repeat()
        except FAILURES:
            # Out of attempts, or refused, perhaps because an earlier attempt got through after it was looked for.
            if (found := await self._find()) is not None:
                return found
            raise
        raise AssertionError("unreachable: the last attempt returns or raises")  # pragma: no cover

    def _wait(self, error: Exception) -> bool | float:
        """Whether to go on after ``error``; a number is the server's wish, in seconds."""
        if error is not self.failure or not is_transient(self.failure):
            return False
        # Where it can be found out, there is no doubt: that comes first.
        if self.find is None and not self.repeatable and may_be_done(self.failure) and not _asks(self.failure):
            return False
        return server_delay(self.failure) or True

    async def _repeat(self) -> T:
        if (found := await self._find()) is not None:
            return found
        _logger.info("repeating what failed: %s", self.failure)
        try:
            return await self.send()
        except FAILURES as error:
            self._note(error)
            raise

    def _note(self, failure: Failure) -> None:
        self.failure = failure
        if may_be_done(failure):
            self._doubt = failure

    async def _find(self) -> T | None:
        """What an attempt whose answer was lost has done."""
        if self.find is None or self._doubt is None:
            return None
        try:
            return await self.find()
        except FAILURES as error:  # nothing is known, so nothing may be repeated, and the doubt is what has to be told
            self.failure = self._doubt
            note = f"Looking for what it has done failed as well: {error}"
            if note not in getattr(self.failure, "__notes__", ()):
                self.failure.add_note(note)
            raise self.failure from self.failure.__cause__


def is_transient(error: Exception) -> bool:
    """Whether the same request may fare better a little later."""
    if isinstance(error, TransportError):
        return not isinstance(error.__cause__, ssl.SSLError)  # a bad certificate stays one
    if not isinstance(error, ResponseError) or error.status is None:
        return False
    delay = server_delay(error)
    if delay is not None and delay > _LONGEST_SERVER_DELAY:
        return False
    wish = error.headers.get("x-should-retry")
    return wish == "true" if wish in ("true", "false") else error.status in (408, 409, 429) or error.status >= 500


def may_be_done(error: Exception) -> bool:
    """Whether a request that failed so may have had its effect."""
    if isinstance(error, ResponseError):  # the other 4xx are refusals
        return error.status == 408 or (error.status is not None and error.status >= 500)
    return error.maybe_done if isinstance(error, TransportError) else isinstance(error, ProtocolError)


def _asks(error: Failure) -> bool:
    """Whether the server asks for a repetition, and so says that it has not done what was asked."""
    return isinstance(error, ResponseError) and (error.status == 503 or error.headers.get("x-should-retry") == "true")


def server_delay(error: Failure) -> float | None:
    """Seconds the server asks to wait, from ``retry-after-ms`` or ``retry-after`` (seconds or an HTTP date)."""
    if not isinstance(error, ResponseError):
        return None
    milliseconds = _number(error.headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = error.headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None or text is None:
        return seconds
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):  # neither a number nor a date: as if it were not there
        return None


def poll_hint(headers: Mapping[str, str]) -> float | None:
    """Seconds until the next question that the server wishes for, from ``openai-poll-after-ms``."""
    milliseconds = _number(headers.get("openai-poll-after-ms"))
    return milliseconds / 1000 if milliseconds else None  # zero would be a loop without a pause


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else None
    except ValueError:  # a header we cannot read is a header that is not there
        return None
    return number if number is not None and 0 <= number < math.inf else None
