"""`Front`: answers the most frequent requests in front of the application, whose router and middlewares cost more.

These are polls of runs, which are nearly all requests, and what creates runs and messages and submits the outputs of
tools. Only the usual ones are answered here: whatever is unusual about a request is left to the application, which has
the answer to everything. So are the errors of polls; other requests must not be carried out again, and get them here.
"""

from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Final, TypeAlias

from aiohttp import HttpVersion11, hdrs, web
from attrs import define

from openai_runs._wire.paths import MESSAGES, PREFER, PREFERENCE_APPLIED, RUN, RUNS, THREAD_RUNS, WAIT
from openai_runs.engine import Engine
from openai_runs.server.app import answering_errors
from openai_runs.server.exchange import ALLOWANCE, IS_USUAL, OWNER, poll_headers
from openai_runs.server.gate import GATE, Gate
from openai_runs.server.keys import Keys
from openai_runs.server.plain_response import PlainResponse, new_request_id
from openai_runs.server.poll_hint import PollHint
from openai_runs.server.waiting import WAITING_POLLS, Preference, WaitingPolls

_Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

#: Of the application.
_PREFIXES: Final = frozenset({"", "/v1", "/openai", "/openai/v1"})
_BELOW: Final = "/threads/"
#: Escaped IDs and a query are unusual.
_UNUSUAL: Final = ("%", "?", "#")
_USUAL_VERSIONS: Final = (None, "assistants=v2")
_UNUSUAL_HEADERS: Final = (hdrs.EXPECT, hdrs.ORIGIN)  # the second one is of a browser, see `Cors`
#: By how many parts a path has below `_BELOW`, and each second one of them.
_POSTS: Final = {
    (1,): THREAD_RUNS,
    (2, "runs"): RUNS,
    (2, "messages"): MESSAGES,
    (4, "runs", "submit_tool_outputs"): f"{RUN}/submit_tool_outputs",
}
_NO_HEADERS: Final[Mapping[str, str]] = {}
_WAITED: Final[Mapping[str, str]] = {PREFERENCE_APPLIED: WAIT}


def _parts_of(path: str) -> list[str] | None:
    """The parts of a path below `_BELOW`; ``None`` if it is not there, or is unusual."""
    prefix, _, below = path.partition(_BELOW)
    if prefix not in _PREFIXES or any(mark in below for mark in _UNUSUAL):
        return None
    parts = below.split("/")
    return parts if all(parts) else None


def is_poll(request: web.BaseRequest) -> bool:
    """Whether a request is a poll of a run."""
    if request.method != hdrs.METH_GET or (parts := _parts_of(request.raw_path)) is None:
        return False
    return len(parts) == 3 and parts[1] == "runs"


def _is_usual(request: web.BaseRequest) -> bool:
    headers = request.headers
    return (
        headers.get("OpenAI-Beta") in _USUAL_VERSIONS
        and not any(map(headers.__contains__, _UNUSUAL_HEADERS))
        and request.keep_alive
        and request.version == HttpVersion11
    )


@define
class Front:
    """Answers the most frequent requests, and passes all others on."""

    _engine: Engine
    _keys: Keys | None
    _poll_hint: PollHint
    _waiting: WaitingPolls
    _gate: Gate
    _posts: Mapping[str, "_Post"]  # by the path's template
    _others: _Handler

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        method = request.method
        if method == hdrs.METH_GET:
            parts = _parts_of(request.raw_path)
            if parts is not None and len(parts) == 3 and parts[1] == "runs" and _is_usual(request):
                try:
                    return await self._poll(request, parts[0], parts[2])
                except Exception:  # noqa: S110  # whatever it is, the application meets it again, and knows what to say
                    pass
        elif method == hdrs.METH_POST and isinstance(request, web.Request):
            parts = _parts_of(request.raw_path)
            if parts is not None and _is_usual(request):
                post = self._posts.get(_POSTS.get((len(parts), *parts[1::2]), ""))
                if post is not None and (len(parts) > 1 or parts == ["runs"]):
                    return await post(request, parts[::2])
        return await self._others(request)

    async def _poll(self, request: web.BaseRequest, thread_id: str, run_id: str) -> PlainResponse:
        started, sent, keys, engine = perf_counter(), request.headers, self._keys, self._engine
        owner = "" if keys is None else keys.owner(sent.get("Authorization"), sent.get("api-key"))
        request[OWNER] = owner  # for the access log
        more = _NO_HEADERS
        if self._gate.is_used:
            await self._gate.admit(request, owner)
            more = request.get(ALLOWANCE, _NO_HEADERS)
        if PREFER in sent and (preference := Preference.of(sent)) is not None:
            run = await self._waiting.retrieve(owner, thread_id, run_id, preference)
            more = {**more, **_WAITED}
        else:
            run = await engine.runs.retrieve(owner, thread_id, run_id)
        if not run.status.is_terminal:
            more = {**more, **poll_headers(run, engine, self._poll_hint)}
        return PlainResponse(engine.json(run), new_request_id(), started, more)


@define
class _Post:
    """One operation: the application's handler, without its router and the middlewares of which nothing is needed."""

    _app: web.Application
    _route: web.AbstractRoute
    _names: tuple[str, ...]  # of the IDs in its path
    _answering: Callable[[web.Request, Callable[..., Awaitable[web.StreamResponse]]], Awaitable[web.StreamResponse]]

    async def __call__(self, request: web.Request, ids: list[str]) -> web.StreamResponse:
        match = web.UrlMappingMatchInfo(dict(zip(self._names, ids, strict=False)), self._route)
        match.add_app(self._app)
        match.freeze()
        request._match_info = match  # noqa: SLF001  # as the application does once it has asked its router
        request[IS_USUAL] = True
        return await self._answering(request, self._route.handler)


def answer_in_front(
    runner: web.AppRunner, engine: Engine, keys: Keys | None, poll_hint: PollHint, *, only_polls: bool = False
) -> None:
    """Put `Front` before an application whose runner is set up, and has no connection yet.

    Args:
        runner: Runs the application.
        engine: The application's.
        keys: Likewise.
        poll_hint: Likewise.
        only_polls: Whether all other requests have to go through the application, for middlewares that see them all.
    """
    server = runner.server
    # aiohttp does not document the attribute. Without it, the application answers everything.
    if (others := getattr(server, "request_handler", None)) is None:
        return
    app = runner.app
    answering = answering_errors(keys, app[GATE])
    posts: dict[str, _Post] = {}
    for route in () if only_polls else app.router.routes():
        template = "" if route.resource is None else route.resource.canonical
        if route.method == hdrs.METH_POST and template in _POSTS.values():
            names = tuple(part.strip("{}") for part in template.split("/") if part.startswith("{"))
            posts[template] = _Post(app, route, names, answering)
    front = Front(engine, keys, poll_hint, app[WAITING_POLLS], app[GATE], posts, others)
    server.request_handler = front  # type: ignore[union-attr]  # it has one
