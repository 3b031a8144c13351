"""When to repeat a failed request, and when to look first whether it took effect. Sending itself is a callback."""

import logging
import math
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Final, Generic, NoReturn, TypeAlias, TypeVar

from attrs import define, field

from openai_runs._http.key_support import KeySupport
from openai_runs._http.overrides import Overrides, further
from openai_runs._http.upload import Upload
from openai_runs.errors import OpenAIRunsError, ProtocolError, ResponseError, TransportError

_logger = logging.getLogger("openai_runs.http")
# For durable batches, whose retries of a transaction stamina logs: where logging is not configured, Python would print
# a bare "stamina.retry_scheduled".
logging.getLogger("stamina").addHandler(logging.NullHandler())

T = TypeVar("T")
LookT = TypeVar("LookT")
Failure: TypeAlias = TransportError | ResponseError | ProtocolError

FAILURES: Final = (TransportError, ResponseError, ProtocolError)

#: How often the request that is being sent was sent before.
resends: Final[ContextVar[int]] = ContextVar("resends", default=0)

#: Seconds; if a server asks for a longer delay, its error is raised at once.
_MAX_SERVER_DELAY: Final = 120.0
#: Seconds; a server that asks for a shorter delay would be asked again in a tight loop.
_MIN_SERVER_DELAY: Final = 0.02
# A 429 means either a rate limit or used-up credit. Waiting only helps against the first.
_NO_CREDIT: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})


class OwnError(Exception):
    """Something of the caller's own failed, so that a request was not sent. It is no failure of the endpoint's.

    Attributes:
        error: What it raised, for the caller.
        what: What failed, for messages: the ``api_key`` function, or reading a file that is uploaded.
    """

    def __init__(self, error: Exception, what: str = "api_key()") -> None:
        super().__init__(error)
        self.error = error
        self.what = what


@define
class Retry(Generic[T]):
    """Retries a request that has failed once: waits, looks whether it took effect, repeats it, gives up in the end."""

    send: Callable[[], Awaitable[T]]
    failure: Failure  #: the latest
    #: Looks whether the request took effect: the result if it did.
    find: Callable[[], Awaitable[T | None]] | None
    repeatable: bool = field(kw_only=True)  #: whether the request is idempotent
    changes_nothing: bool = field(default=False, kw_only=True)  #: whether it only reads, so that nothing is in doubt
    #: Whether the endpoint honours the request's idempotency key; ``None`` if it has none.
    keys: KeySupport | None = field(default=None, kw_only=True)
    overrides: Overrides | None = field(default=None, kw_only=True)  #: of the request, for asking about its key
    upload: Upload | None = field(default=None, kw_only=True)  #: what the request sends, if that is a file
    _max_retries: int = field(default=0, init=False)
    _is_in_doubt: bool = field(default=False, init=False)  # an attempt may have taken effect
    _is_over: bool = field(default=False, init=False)  # the doubt cannot be settled
    _maybe_done: Failure | None = field(default=None, init=False)  #: the latest failure that may have taken effect
    _resends: int = field(default=0, init=False)
    _maybe_late: Failure | None = field(default=None, init=False)  # an attempt without a response: it may be under way

    def __attrs_post_init__(self) -> None:
        self._record(self.failure)

    async def run(self, max_retries: int) -> T:
        """Repeat the request, at most ``max_retries`` times.

        A look whether it took effect is a request of its own, which is repeated as often: that it fails says nothing
        about this one, and is no attempt.

        Raises:
            TransportError, ResponseError, ProtocolError: The latest failure, or the one that leaves a doubt.
            OwnError: An attempt was not sent, and there is no doubt about those before it.
        """
        import stamina  # only here: most programs never retry

        from openai_runs._http.attempts import Attempts

        self._max_retries = max_retries
        attempts = stamina.retry_context(
            on=self._should_retry,
            attempts=max_retries + 1,
            timeout=None,
            wait_initial=0.5,
            wait_max=8.0,
            wait_jitter=0.5,
        )
        try:
            async for attempt in Attempts(attempts):
                with attempt:
                    if attempt.num == 1:  # already made: raise its failure for stamina to handle
                        raise self.failure
                    return await self._repeat()
        except OwnError as error:
            if self._maybe_done is None:
                raise
            failed = f"Repeating it failed, since {error.what} raised {type(error.error).__name__}."
            raise noted(self._maybe_done, failed) from self._maybe_done.__cause__
        except FAILURES as error:
            # Out of attempts, or refused, perhaps because an earlier attempt took effect after we looked.
            if not self._is_over and (found := await self._find()) is not None:
                return found
            # That nothing was found settles the doubt about attempts that were answered, and no other.
            if (doubt := self._maybe_done if self.find is None else self._maybe_late) is not None:
                cast_doubt(error, doubt)
            raise
        raise AssertionError("unreachable: the last attempt returns or raises")  # pragma: no cover

    def _should_retry(self, error: Exception) -> bool | float:
        """Whether to retry after ``error``; a number is the delay that the server asks for, in seconds."""
        if error is not self.failure or self._is_over or (self.upload is not None and self.upload.is_spent):
            return False
        may_have_key = self.keys is not None and self.keys.honoured is not False
        if isinstance(self.failure, ProtocolError) and not self.changes_nothing:
            # A success that cannot be read: what was asked is done, as a rule. Where the key is honoured, its result
            # can be asked for again.
            if not (may_have_key and may_be_done(self.failure)):
                return False
        elif not is_transient(self.failure):
            return False
        # With `find` or a key, `_repeat` looks first whether repeating is safe.
        if self._is_in_doubt and not self.repeatable and self.find is None and not may_have_key:
            return False
        delay = server_delay(self.failure)
        return max(delay, _MIN_SERVER_DELAY) if delay else True

    async def _repeat(self) -> T:
        # Where the key is honoured, the request itself looks: if an earlier attempt took effect, it has no other.
        if self.keys is None or not self.keys.honoured:
            if (found := await self._find()) is not None:
                return found
            if self._is_in_doubt and not self.repeatable and self.find is None:
                await self._check_keys()
        _logger.info("repeating a request that failed: %s", self.failure)
        self._resends += 1
        token = resends.set(self._resends)
        try:
            return await self.send()
        except FAILURES as error:
            self._record(error)
            raise
        finally:
            resends.reset(token)

    def _record(self, failure: Failure) -> None:
        self.failure = failure
        if self.changes_nothing:
            failure.maybe_done = False  # for the caller: there is nothing that could be done
        elif may_be_done(failure):
            self._is_in_doubt = self._is_in_doubt or not _asks_for_retry(failure)
            self._maybe_done = failure
            if isinstance(failure, TransportError):
                self._maybe_late = failure

    async def _find(self) -> T | None:
        """The result of an attempt that took effect although its response was lost."""
        if self.find is None or self._maybe_done is None:
            return None
        return await self._look(self.find, self._maybe_done)

    async def _check_keys(self) -> None:
        """Check that repeating is safe after an attempt that may have taken effect.

        Raises:
            TransportError, ResponseError, ProtocolError: It is not: that attempt's failure.
        """
        assert self.keys is not None  # noqa: S101  # for the type checker: `_should_retry` has checked it
        assert self._maybe_done is not None  # noqa: S101  # likewise
        if not await self._look(partial(self.keys.ask, further(self.overrides)), self._maybe_done):
            self._give_up(self._maybe_done)

    async def _look(self, look: Callable[[], Awaitable[LookT]], maybe_done: Failure) -> LookT:
        try:
            return await _look_up(look, self._max_retries)
        except Exception as error:  # whatever it is: repeating is not safe now, and the doubt must not get lost
            reason = error if isinstance(error, FAILURES) else type(error).__name__
            self._give_up(noted(maybe_done, f"Looking whether it took effect failed as well: {reason}"))

    def _give_up(self, maybe_done: Failure) -> NoReturn:
        """Raise the failure of an attempt that may have taken effect."""
        self._is_over, self.failure = True, maybe_done
        raise maybe_done from maybe_done.__cause__


async def _look_up(find: Callable[[], Awaitable[T]], max_retries: int) -> T:
    """Look, which changes nothing, with retries."""
    try:
        return await find()
    except FAILURES as error:
        failure = error
    return await Retry(find, failure, None, repeatable=True, changes_nothing=True).run(max_retries)


def noted(failure: Failure, note: str) -> Failure:
    """Add a note to an error, unless it has the same already."""
    if note not in getattr(failure, "__notes__", ()):
        failure.add_note(note)
    return failure


def cast_doubt(error: Failure, earlier: Failure) -> None:
    """Say in an error that an earlier attempt may have taken effect."""
    if not may_be_done(error):
        error.maybe_done = True
        error.add_note(f"An earlier attempt may have taken effect: {earlier}")


def is_transient(error: Exception) -> bool:
    """Whether the same request may succeed soon: within the longest delay that a request waits for."""
    return is_outage(error) and (server_delay(error) or 0.0) <= _MAX_SERVER_DELAY


def is_outage(error: Exception) -> bool:
    """Whether the same request may succeed later, however long the server asks to wait."""
    if isinstance(error, ProtocolError):  # not JSON: a proxy's page; an API that is another one stays another one
        return error.status is not None and not error.paths
    if is_final(error):
        return False
    if isinstance(error, TransportError):
        return True
    if not isinstance(error, ResponseError) or error.status is None:
        return False
    return _asks_for_retry(error) or error.status in (408, 409, 429) or error.status >= 500


def is_unreachable(error: Exception) -> bool:
    """Whether the endpoint itself did not answer: nobody did, or a gateway before it that says so."""
    if isinstance(error, ResponseError):
        return error.status in (502, 503, 504) and not is_final(error)
    return isinstance(error, TransportError) and not is_final(error)


def is_final(error: Exception) -> bool:
    """Whether it is said, or certain, that the same request will not succeed later, whatever the kind of error."""
    if isinstance(error, TransportError):
        return isinstance(error.__cause__, ssl.SSLError)  # a bad certificate stays bad
    if not isinstance(error, ResponseError):
        return False
    should_retry = error.headers.get("x-should-retry")
    return should_retry == "false" or (should_retry != "true" and is_out_of_credit(error.code, error.type))


def is_out_of_credit(*codes: object) -> bool:
    """Whether a 429 means used-up credit, by its code or type, so that waiting does not help."""
    return any(code in _NO_CREDIT for code in codes)


def may_be_done(error: Exception) -> bool:
    """Whether a request that failed with ``error`` may have taken effect."""
    return isinstance(error, OpenAIRunsError) and error.maybe_done


def _asks_for_retry(error: Failure) -> bool:
    """Whether the server asks for a retry, and so says that the request took no effect."""
    return isinstance(error, ResponseError) and (error.status == 503 or error.headers.get("x-should-retry") == "true")


def server_delay(error: Exception) -> float | None:
    """Seconds that the server asks to wait, from ``retry-after-ms`` or ``retry-after`` (seconds or an HTTP date)."""
    return asked_delay(error.headers) if isinstance(error, ResponseError) else None


def asked_delay(headers: Mapping[str, str]) -> float | None:
    """The same from the headers of a response."""
    milliseconds = _parse_number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _parse_number(text)
    if seconds is not None or text is None:
        return seconds
    try:
        date = parsedate_to_datetime(text)
        # HTTP's dates are in UTC; without a zone, Python would take them for local time.
        aware = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
        return max((aware - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError, OverflowError):  # neither a number nor a date: ignored
        return None


def poll_hint(headers: Mapping[str, str]) -> float | None:
    """Seconds until the next poll, as the server asks with ``openai-poll-after-ms``."""
    milliseconds = _parse_number(headers.get("openai-poll-after-ms"))
    return milliseconds / 1000 if milliseconds else None  # zero would poll without a pause


def _parse_number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else None
    except ValueError:  # an unreadable header is ignored
        return None
    return number if number is not None and 0 <= number < math.inf else None
