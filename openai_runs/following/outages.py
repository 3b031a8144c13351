"""`through_outages`: sends a request, again and again for a while if the endpoint cannot be reached."""

import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Final, TypeVar

import anyio

from openai_runs._http.retries import FAILURES, is_outage, noted, server_delay
from openai_runs.following.polling import Polling
from openai_runs.pacing.sending import FirstSent, tell

_logger = logging.getLogger("openai_runs.following")
T = TypeVar("T")

#: Seconds of an outage after which it is logged again, at first.
_TOLD_AGAIN: Final = 1.0


def _never(_: Exception) -> bool:
    return False


async def through_outages(
    request: Callable[[], Awaitable[T]],
    polling: Polling,
    name: str,
    *,
    takes_turns: bool = True,
    sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
    is_over: Callable[[Exception], bool] = _never,
) -> T:
    """Send a request; while the endpoint is unreachable, repeat it for up to `Polling.outage` seconds.

    Args:
        request: Sends it.
        polling: Has the delays.
        name: Of what the request is about, for the log.
        takes_turns: Whether it may have to wait before it is sent, which is no outage.
        sleep: Waits for a number of seconds.
        is_over: Whether an error ends it, whatever its kind.
    """
    failures, began, told_until = 0, math.inf, 0.0
    while True:
        sent = FirstSent(anyio.current_time())
        try:
            with tell(sent) if takes_turns else nullcontext():
                return await request()
        except FAILURES as error:
            now = anyio.current_time()
            began = min(began, sent.at)
            left = began + polling.outage - now
            if is_over(error) or not is_outage(error):
                raise
            if left <= 0:
                if polling.outage > 0:
                    patience = f"Polling.outage is {polling.outage:g} s"
                    noted(
                        error, f"Given up: the endpoint has been unreachable for {now - began:.1f} s, and {patience}."
                    )
                raise
            delay = outage_delay(polling, failures, error)
            lasted = now - began
            # Each time that it has lasted twice as long: in an outage, thousands of runs may fail each second.
            level = logging.WARNING if lasted >= told_until else logging.DEBUG
            told_until = max(2 * lasted, _TOLD_AGAIN) if lasted >= told_until else told_until
            _logger.log(level, "%s: the endpoint has been unreachable for %.1f s: %s", name, lasted, error)
        await sleep(min(delay, left))
        failures += 1


def outage_delay(polling: Polling, failures: int, error: Exception) -> float:
    """Seconds until a request is repeated for which the endpoint could not be reached.

    Args:
        polling: Has the delays.
        failures: How often in a row that happened before.
        error: What happened now; it may say how long the server asks to wait.
    """
    delay, asked = polling.delay(failures), server_delay(error)
    return delay if asked is None else max(delay, polling.delay(failures, asked))
