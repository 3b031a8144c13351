"""`Polls`: answers polls of runs in front of the application, whose router and middlewares cost more than the answer.

Nearly all requests are such polls. Only the usual one is answered here: whatever is unusual about it, an error above
all, is left to the application, which has the answer to everything.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Final, TypeAlias

from aiohttp import hdrs, web
from attrs import define

from openai_runs._wire.paths import PREFER, PREFERENCE_APPLIED, WAIT
from openai_runs.engine import Engine
from openai_runs.server.app import own_headers
from openai_runs.server.exchange import ALLOWANCE, OWNER, new_request_id, poll_headers
from openai_runs.server.gate import GATE, Gate
from openai_runs.server.keys import Keys
from openai_runs.server.poll_hint import PollHint
from openai_runs.server.waiting import WAITING_POLLS, Preference, WaitingPolls

_Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

#: With the prefixes of the application. IDs of other characters, escaped ones and a query are unusual.
run_at: Final = re.compile(r"(?:/openai)?(?:/v1)?/threads/([\w-]+)/runs/([\w-]+)", re.ASCII).fullmatch
_USUAL_VERSIONS: Final = (None, "assistants=v2")
_NOTHING: Final[Mapping[str, str]] = {}
_UNUSUAL_HEADERS: Final = (hdrs.EXPECT, hdrs.ORIGIN)  # the second one is of a browser, see `Cors`


@define
class Polls:
    """Answers polls of runs, and passes all other requests on."""

    _engine: Engine
    _keys: Keys | None
    _poll_hint: PollHint
    _waiting: WaitingPolls
    _gate: Gate
    _others: _Handler

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        if request.method == hdrs.METH_GET and (ids := run_at(request.raw_path)) is not None:
            headers = request.headers
            if headers.get("OpenAI-Beta") in _USUAL_VERSIONS and not any(map(headers.__contains__, _UNUSUAL_HEADERS)):
                try:
                    return await self._poll(request, *ids.groups())
                except Exception:  # noqa: S110  # whatever it is, the application meets it again, and knows what to say
                    pass
        return await self._others(request)

    async def _poll(self, request: web.BaseRequest, thread_id: str, run_id: str) -> web.Response:
        started, sent = perf_counter(), request.headers
        owner = "" if self._keys is None else self._keys.owner(sent.get("Authorization"), sent.get("api-key"))
        request[OWNER] = owner  # for the access log
        allowance = _NOTHING
        if self._gate.is_used:
            await self._gate.admit(request, owner)
            allowance = request.get(ALLOWANCE, _NOTHING)
        applied = {}
        if PREFER in sent and (preference := Preference.of(sent)) is not None:
            run = await self._waiting.retrieve(owner, thread_id, run_id, preference)
            applied = {PREFERENCE_APPLIED: WAIT}
        else:
            run = await self._engine.runs.retrieve(owner, thread_id, run_id)
        headers = {
            **own_headers(),
            **applied,
            **allowance,
            "Content-Type": "application/json",
            **poll_headers(run, self._engine, self._poll_hint),
            "x-request-id": new_request_id(),
            "openai-processing-ms": str(round((perf_counter() - started) * 1000)),
        }
        return web.Response(body=self._engine.json(run), headers=headers)


def answer_polls(runner: web.AppRunner, engine: Engine, keys: Keys | None, poll_hint: PollHint) -> None:
    """Put `Polls` in front of an application whose runner is set up, and has no connection yet."""
    server = runner.server
    # aiohttp does not document the attribute. Without it, the application answers polls, too.
    if (others := getattr(server, "request_handler", None)) is not None:
        server.request_handler = Polls(engine, keys, poll_hint, runner.app[WAITING_POLLS], runner.app[GATE], others)  # type: ignore[union-attr]  # it has one
