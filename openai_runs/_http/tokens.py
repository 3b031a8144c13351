"""`Tokens`: the bearer tokens that the caller's async ``api_key`` function gives, and how one is renewed early."""

import math
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, Final

import anyio
from attrs import define, field

from openai_runs._http.redaction import Secrets
from openai_runs._http.retries import OwnError
from openai_runs.errors import ResponseError

#: Seconds for which requests that were refused share a fresh token: it may have its end soon, and they wait for turns.
_SHARED_FOR: Final = 10.0
_NO_KEY: Final = "Raised by api_key(); the request was not sent."


@define
class Tokens:
    """The tokens of one session. They are kept by the caller's function, which is asked for each request."""

    _ask: Callable[[], Awaitable[str]]
    _secrets: Secrets
    renewals: int = field(default=0, init=False)  #: how many have come to replace one that was refused
    _renewing: anyio.Lock = field(factory=anyio.Lock, init=False)
    _fresh: str | Exception = field(default="", init=False)  # what the latest renewal gave
    _fresh_at: float = field(default=-math.inf, init=False)  # when that was

    async def current(self) -> str:
        """Ask for a token.

        Raises:
            OwnError: The function failed.
        """
        try:
            token = await self._asked()
        except Exception as error:  # of any kind: it is the caller's, even if it looks like a lost connection
            if _NO_KEY not in getattr(error, "__notes__", ()):
                error.add_note(_NO_KEY)
            raise OwnError(error) from None
        self._secrets.add_token(token)
        return token

    async def renewed(self, renewals: int) -> str | Exception:
        """A fresh token for a request that was refused, or what the function raised.

        Requests that were sent before it came share one, for some seconds.

        Args:
            renewals: How many fresh ones had come when the request was sent.
        """
        async with self._renewing:
            if self.renewals == renewals or anyio.current_time() > self._fresh_at + _SHARED_FOR:
                try:
                    self._fresh = await self.current()
                except OwnError as error:
                    self._fresh = error.error
                self._fresh_at = anyio.current_time()
                self.renewals += 1
            return self._fresh

    async def _asked(self) -> str:
        awaitable = self._ask()
        if not isawaitable(awaitable):
            raise TypeError(f"api_key must be a string or an async function: it returned {type(awaitable).__name__}")
        return checked_key("the token that api_key() returned", await awaitable)


@define
class RequestToken:
    """The token of one request. It is asked for when the request is about to be sent, so that it is fresh then."""

    _tokens: Tokens
    _sent: str = field(default="", init=False)
    _renewals: int = field(default=0, init=False)  # how many there had been when it was sent

    async def first(self) -> str:
        """The token to send. See `Tokens.current`."""
        self._renewals = self._tokens.renewals
        self._sent = await self._tokens.current()
        return self._sent

    async def second(self, refusal: ResponseError) -> str:
        """The token to send in place of one that may have expired early.

        Raises:
            ResponseError: ``refusal``, the response to the first: there is no other token.
        """
        fresh = await self._tokens.renewed(self._renewals)
        if isinstance(fresh, Exception):
            refusal.add_note(f"For a fresh token, api_key() raised {type(fresh).__name__}.")
            raise refusal from fresh
        if fresh == self._sent:
            raise refusal
        return fresh


def checked_key(name: str, key: Any) -> str:
    """A key that can be sent in a header.

    Raises:
        TypeError: It is no string.
        ValueError: It is empty, or has more than one line, or blanks around it.
    """
    if not isinstance(key, str):
        raise TypeError(f"{name} must be a string: got {type(key).__name__}")
    if not key or not key.isprintable() or key != key.strip():
        raise ValueError(f"{name} must be one line, with no blanks around it; if it was read from a file, strip() it")
    return key
