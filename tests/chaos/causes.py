"""Why a lifecycle has raised instead of ending as the server says: derived from what was sent, and from its settings.

`UNAVOIDABLE` is the whole list of reasons. A raise that has none of them is a defect of the library.
"""

import asyncio
import re
from typing import Final

import aiohttp
from attrs import frozen

from openai_runs.errors import OpenAIRunsError, RunDeadlineError, TransportError
from tests.chaos.history import LOOK, Call, History, Sent

DEADLINE: Final = "the deadline has passed"
_ATTEMPTS: Final = "all attempts have failed"
_LOOKS: Final = "in doubt, and all looks have failed"
_OUTAGE: Final = "all attempts or looks have failed, and no outage is tolerated"
_NO_KEYS: Final = "may be done, no keys, nothing to look for"

#: Each cause for which no client could do better, and why.
UNAVOIDABLE: Final = {
    DEADLINE: "The caller wants to wait no longer, and has got the latest snapshot, or hears that there is none.",
    _ATTEMPTS: "The caller has said how often a request is repeated, and each time there was a fault.",
    _LOOKS: "A request may have taken effect, and whether it has was asked as often as the caller has said. Each time "
    "there was a fault, and without an answer the request must not be repeated.",
    _OUTAGE: "One of these two; and the caller has said, by Polling.outage, that following ends with it.",
    _NO_KEYS: "The request creates something, its response was lost, and the endpoint honours no idempotency keys: "
    "if it is repeated there may be two, and among what is there nothing tells which one is meant.",
}

_OPERATIONS: Final = (
    (r"POST .*/threads/runs", "create thread and run"),
    (r"POST .*/threads/[^/]+/runs", "create run"),
    (r"POST .*/submit_tool_outputs", "submit tool outputs"),
    (f"GET {LOOK}", "look for run"),
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
    starts_left: int = 0  #: how often a batch may try once more to start the run


@frozen
class Raise:
    """A kind of raise, for counting."""

    outcome: str
    has_keys: bool
    operation: str
    fault: str  #: the last one
    error: str
    max_retries: int
    tolerates_outages: bool
    cause: str | None


def cause(error: OpenAIRunsError, history: History, settings: Settings, *, deadline_passed: bool) -> str | None:
    """Why a lifecycle has raised; ``None`` if the library could have done better, as far as is known."""
    if settings.starts_left and (settings.has_keys or not error.maybe_done):
        return None
    call = history.raised(error)
    if isinstance(error, RunDeadlineError) or (call is None and deadline_passed):
        return DEADLINE if deadline_passed else None
    if call is None:  # such as a stream that broke before it said which run it is about
        return _of_lost_run(history, settings) if isinstance(error, TransportError) else None
    reason = _given_up(call, settings.max_retries)
    if reason is None:
        could_repeat = call.method == "GET" or settings.has_keys or call.can_look
        return None if could_repeat or not error.maybe_done else _NO_KEYS
    if _is_following(call, settings):
        return None if settings.outage else _OUTAGE
    return reason


def _of_lost_run(history: History, settings: Settings) -> str | None:
    """Why a run is not known whose stream was opened."""
    start = next(call for call in history.calls if call.is_stream)
    if settings.has_keys or start.can_look:
        return None if settings.outage else _OUTAGE
    return _NO_KEYS


def _given_up(call: Call, max_retries: int) -> str | None:
    """Why a call was given up: it was made as often as allowed, or looked for as often as allowed."""
    allowed = 1 if call.is_single else max_retries + 1
    looks = call.last_looks
    if looks and all(look.failure is not None for look in looks):
        return _LOOKS if len(looks) >= allowed else None
    return _ATTEMPTS if call.failures >= allowed else None


def _is_following(call: Call, settings: Settings) -> bool:
    """Whether the library repeats a call as long as an outage is tolerated."""
    if call.method == "GET" or call.is_single:
        return True
    return call.path.endswith("/submit_tool_outputs") and not settings.by_hand


def describe(error: Exception, history: History, faults: dict[str, str]) -> tuple[str, str]:
    """The operation that an error came from, and the fault by which its last request failed."""
    call = history.raised(error) or history.calls[-1]
    text = f"{call.method} {call.path}"
    operation = next((name for pattern, name in _OPERATIONS if re.fullmatch(pattern, text)), text)
    kind = "stream: " if call.is_stream else ""
    failed = [request for request in call.sent if request.failure is not None]
    return kind + operation, _fault((failed or call.sent)[-1], faults)


def told(error: Exception, history: History, faults: dict[str, str]) -> str:
    """The course of the call that has raised an error, for whoever looks for the reason."""
    call = history.raised(error)
    if call is None:
        return "not raised by a call"
    steps = (
        f"{'look' if sent.is_look else 'attempt'}: {'done' if sent.failure is None else type(sent.failure).__name__}"
        f" ({_fault(sent, faults)})"
        for sent in call.sent
    )
    return f"{call.method} {call.path}: {', '.join(steps)}"


def _fault(sent: Sent, faults: dict[str, str]) -> str:
    """What the network did to an exchange, or else what has failed."""
    failure = sent.failure
    if (fault := faults.get(sent.name)) is not None:
        return fault
    if isinstance(failure, TransportError):
        kinds = {TimeoutError: "silence", aiohttp.ClientConnectorError: "refused"}
        return next((kind for cls, kind in kinds.items() if isinstance(failure.__cause__, cls)), "of an earlier one")
    if isinstance(failure, asyncio.CancelledError):
        return "took too long"
    return "none" if failure is None else type(failure).__name__
