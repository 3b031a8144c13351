"""Why a lifecycle has raised instead of ending as the server says: derived from what was sent, and from its settings.

`UNAVOIDABLE` is the whole list of reasons. A raise that has none of them is a defect of the library.
"""

import re
from typing import Final

from attrs import frozen

from openai_runs.errors import RunDeadlineError, TransportError
from tests.chaos.history import Call, History

DEADLINE: Final = "the deadline has passed"
_ATTEMPTS: Final = "all attempts have failed"
_OUTAGE: Final = "all attempts have failed, and no outage is tolerated"
_NO_KEYS: Final = "may be done, no keys, nothing to look for"

#: Each cause for which no client could do better, and why.
UNAVOIDABLE: Final = {
    DEADLINE: "The caller wants to wait no longer, and has got the latest snapshot, or hears that there is none.",
    _ATTEMPTS: "The caller has said how often a request is repeated, and each time there was a fault, or nobody who "
    "could be asked.",
    _OUTAGE: "The same; and the caller has said, by Polling.outage, that following ends with it.",
    _NO_KEYS: "The request creates something, its response was lost, and the endpoint honours no idempotency keys: "
    "if it is repeated there may be two, and among what is there nothing tells which one is meant.",
}

_OPERATIONS: Final = (
    (r"POST .*/threads/runs", "create thread and run"),
    (r"POST .*/threads/[^/]+/runs", "create run"),
    (r"POST .*/submit_tool_outputs", "submit tool outputs"),
    (r"GET the run that was started", "look for run"),
    (r"GET .*/runs/[^/]+", "retrieve run"),
    (r"GET .*/(steps|messages|runs)", "list"),
)


@frozen
class Settings:
    """What a caller has allowed, and what the endpoint is."""

    max_retries: int
    has_keys: bool  #: whether the endpoint honours idempotency keys
    outage: float  #: seconds
    by_hand: bool  #: whether the caller submits tool outputs


@frozen
class Raise:
    """A kind of raise, for counting."""

    outcome: str
    has_keys: bool
    operation: str
    fault: str  #: the last one
    error: str
    max_retries: int
    cause: str | None


def cause(error: Exception, history: History, settings: Settings, *, deadline_passed: bool) -> str | None:
    """Why a lifecycle has raised; ``None`` if the library could have done better, as far as is known."""
    call = history.raised(error)
    if isinstance(error, RunDeadlineError) or (call is None and deadline_passed):
        return DEADLINE if deadline_passed else None
    if call is None:  # such as a stream that broke before it said which run it is about
        return _of_lost_run(history, settings) if isinstance(error, TransportError) else None
    if not _has_given_up(call, settings.max_retries):
        could_repeat = call.method == "GET" or settings.has_keys or call.can_look
        return None if could_repeat or not error.maybe_done else _NO_KEYS
    if _is_following(call, settings):
        return None if settings.outage else _OUTAGE
    return _ATTEMPTS


def _of_lost_run(history: History, settings: Settings) -> str | None:
    """Why a run is not known whose stream was opened."""
    start = next(call for call in history.calls if call.is_stream)
    if settings.has_keys or start.can_look:
        return None if settings.outage else _OUTAGE
    return _NO_KEYS


def _has_given_up(call: Call, max_retries: int) -> bool:
    """Whether a call was made as often as allowed, and what may have come of it looked for as often as allowed."""
    allowed = 1 if call.is_single else max_retries + 1
    looks = call.last_looks if call.can_look else []
    if looks and all(look.failure is not None for look in looks):
        return len(looks) >= allowed
    return call.failures >= allowed


def _is_following(call: Call, settings: Settings) -> bool:
    """Whether the library repeats a call as long as an outage is tolerated."""
    if call.method == "GET" or call.is_single:
        return True
    return call.path.endswith("/submit_tool_outputs") and not settings.by_hand


def describe(error: Exception, history: History, faults: dict[str, str]) -> tuple[str, str]:
    """The operation that was the last to fail before an error, and the fault by which it did."""
    call = history.raised(error)
    if call is None:
        call = next((call for call in reversed(history.calls) if call.error is not None), history.calls[-1])
    request = next((request for request in reversed(call.sent) if request.failure is not None), call.sent[-1])
    text = f"{call.method} {call.path}"
    operation = next((name for pattern, name in _OPERATIONS if re.fullmatch(pattern, text)), text)
    kind = "stream: " if call.is_stream else ""
    return kind + operation, faults.get(request.name) or _without_fault(request.failure)


def told(error: Exception, history: History, faults: dict[str, str]) -> str:
    """The course of the call that has raised an error, for whoever looks for the reason."""
    call = history.raised(error)
    if call is None:
        return "not raised by a call"
    steps = (
        f"{'look' if sent.is_look else 'attempt'}: {'done' if sent.failure is None else type(sent.failure).__name__}"
        f" ({faults.get(sent.name) or _without_fault(sent.failure)})"
        for sent in call.sent
    )
    return f"{call.method} {call.path}: {', '.join(steps)}"


def _without_fault(failure: BaseException | None) -> str:
    """What has failed where the network did nothing to the exchange."""
    if isinstance(failure, TransportError):
        return "silence" if failure.maybe_done else "refused"
    return "none" if failure is None else type(failure).__name__
