"""``Prefer: wait`` of RFC 7240 for a poll: it is answered once there is something to see, so nobody need ask again.

``Prefer: wait=20; while="queued in_progress"`` waits at most 20 seconds, and only while the run has one of these
statuses; without ``while``, for as long as the engine works on it. The answer is the run as it is then, and says
``Preference-Applied: wait``.
"""

import re
from collections.abc import Mapping
from typing import Final

import anyio
from aiohttp import web
from attrs import define, field, frozen

from openai_runs._wire.paths import PREFER
from openai_runs.engine import Engine
from openai_runs.lifecycle import CHANGING
from openai_runs.models.run import Run

#: Seconds; a longer wait is cut, since proxies take a connection for dead that is silent for a minute.
LONGEST: Final = 30
_find_wait: Final = re.compile(
    r"""(?:^|,) \s* wait \s*=\s* "?(\d{1,9})"? \s*
        (?:; \s* while \s*=\s* (?: "([a-z_ ]*)" | ([a-z_]+) ) \s* )? (?=[,;]|$)""",
    re.ASCII | re.IGNORECASE | re.VERBOSE,
).search


@frozen
class Preference:
    """How long to wait, and for what."""

    seconds: int
    statuses: frozenset[str]  #: in which to wait

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> "Preference | None":
        """The preference of a request; ``None`` if it has none, or none that is understood."""
        if (text := headers.get(PREFER)) is None or (found := _find_wait(text)) is None:
            return None
        seconds, *given = found.groups()
        named = next((names for names in given if names is not None), None)
        statuses = frozenset(CHANGING if named is None else named.lower().split())
        return cls(min(int(seconds), LONGEST), statuses)


@define(eq=False)
class WaitingPolls:
    """The polls that wait."""

    _engine: Engine
    _scopes: set[anyio.CancelScope] = field(factory=set, init=False)
    _is_stopping: bool = field(default=False, init=False)

    async def retrieve(self, owner: str, thread_id: str, run_id: str, preference: Preference) -> Run:
        """The run: once it has another status, or after the time.

        Raises:
            ApiError: There is no such run.
        """
        runs = self._engine.runs
        if not self._is_stopping:
            with anyio.move_on_after(preference.seconds) as scope:
                self._scopes.add(scope)
                try:
                    return await runs.retrieve(owner, thread_id, run_id, unless_in=preference.statuses)
                finally:
                    self._scopes.remove(scope)
        return await runs.retrieve(owner, thread_id, run_id)

    def stop(self) -> None:
        """Answer all of them now, and let none wait any more."""
        self._is_stopping = True
        for scope in self._scopes:
            scope.cancel()


WAITING_POLLS: Final = web.AppKey("waiting_polls", WaitingPolls)


async def stop_waiting(app: web.Application) -> None:
    """Answer all polls that wait, since the server stops."""
    app[WAITING_POLLS].stop()
