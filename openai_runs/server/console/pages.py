"""The pages: all runs, one run, one thread."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from aiohttp import web

from openai_runs.engine import ApiError, Engine
from openai_runs.lifecycle import CANCELLABLE
from openai_runs.models.lines import end_of
from openai_runs.models.message import Message
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.run_step import RunStep
from openai_runs.server.console.charts import charts
from openai_runs.server.console.rendering import page, see_other
from openai_runs.server.console.views import seconds_of, settings, ticks, timeline
from openai_runs.server.console.writing import written_message, written_step
from openai_runs.server.exchange import ENGINE, OWNER
from openai_runs.server.gate import GATE
from openai_runs.server.owner_use import read_use
from openai_runs.stores.records import PageQuery

_SHOWN_RUNS: Final = 50
#: Runs that one request looks at for those of a status: the store has no list of them.
_LOOKED_AT: Final = 2_000
_SHOWN_STEPS: Final = 200
_SHOWN_MESSAGES: Final = 50
_MESSAGES_BEFORE: Final = 3  # of the conversation, on the page of a run

_UNFINISHED: Final = "unfinished"
_FILTERS: Final = ("", _UNFINISHED, *(str(status) for status in RunStatus))


async def runs(request: web.Request) -> web.Response:
    """All runs of the owner, the newest first."""
    engine, owner = request.app[ENGINE], request[OWNER]
    status, after = request.query.get("status", ""), request.query.get("after") or None
    if status not in _FILTERS:
        raise ApiError(400, f"There is no status '{status[:100]}'.")
    found, older = await _runs_of(engine, owner, status, after)
    is_live = any(_may_change(engine, run) for run in found)
    now = _now(engine)
    rows = [(run, seconds_of(engine.with_exact_times(run), now)) for run in found]
    return page(
        request,
        "runs.html",
        rows=rows,
        charts=charts(rows),
        names=await _names(engine, owner, {run.assistant_id for run in found}),
        filters=_FILTERS,
        chosen=status,
        after=after,
        older=older,
        limits=await read_use(engine, request.app[GATE], owner),
        is_live=is_live,
    )


async def run(request: web.Request) -> web.Response:
    """One run: what it is, its steps over time, and what was said."""
    engine, owner = request.app[ENGINE], request[OWNER]
    run = await engine.runs.find(owner, request.match_info["run_id"])
    is_live = _may_change(engine, run)
    writing = engine.runs.writing(run)  # first: of what is complete meanwhile, the store has all
    steps, more_steps = await _steps_of(engine, owner, run)
    said, before = await _conversation(engine, owner, run)
    steps = [written_step(step, writing) for step in steps]
    said = [written_message(message, writing) for message in said]
    now = _now(engine)
    exact = engine.with_exact_times(run)
    queued, rows = timeline(exact, [engine.with_exact_times(step) for step in steps], said, now)
    names = await _names(engine, owner, {run.assistant_id})
    return page(
        request,
        "run.html",
        run=run,
        assistant=names.get(run.assistant_id),
        seconds=seconds_of(exact, now),
        ticks=ticks(seconds_of(exact, now)),
        settings=settings(run),
        ended=end_of(run),
        queued=queued,
        steps=rows,
        more_steps=more_steps,
        messages=[*before, *said],
        written={each.object_id for each in writing},
        can_cancel=run.status in CANCELLABLE,
        is_live=is_live,
    )


async def thread(request: web.Request) -> web.Response:
    """A conversation: its latest messages, or those before one, and its runs."""
    engine, owner, thread_id = request.app[ENGINE], request[OWNER], request.match_info["thread_id"]
    thread = await engine.threads.retrieve(owner, thread_id)
    after = request.query.get("after") or None
    query = PageQuery(limit=_SHOWN_MESSAGES, order="desc", after=after)
    runs = await engine.runs.list(owner, thread_id, PageQuery(limit=_SHOWN_MESSAGES, order="desc"))
    is_live = any(_may_change(engine, run) for run in runs.data)
    writing = [each for run in runs.data for each in engine.runs.writing(run)]
    messages = await engine.messages.list(owner, thread_id, query)
    now = _now(engine)
    return page(
        request,
        "thread.html",
        thread=thread,
        messages=[written_message(message, writing) for message in reversed(messages.data)],
        written={each.object_id for each in writing},
        earlier=messages.data[-1].id if messages.has_more else None,
        rows=[(run, seconds_of(engine.with_exact_times(run), now)) for run in runs.data],
        names=await _names(engine, owner, {run.assistant_id for run in runs.data}),
        is_live=is_live,
    )


async def find(request: web.Request) -> web.Response:
    """Go to the page of the run or the thread whose ID somebody has, from a log, say."""
    engine, owner, id = request.app[ENGINE], request[OWNER], request.query.get("id", "").strip()
    for kind, look in ("runs", engine.runs.find), ("threads", engine.threads.retrieve):
        try:
            await look(owner, id)
        except ApiError:
            continue
        return see_other(f"/console/{kind}/{quote(id, safe='')}")
    raise ApiError(404, f"There is no run and no thread '{id[:100]}'.")


def _may_change(engine: Engine, run: Run) -> bool:
    """Whether a page that shows a run has to be read again; to be asked before what the engine knows of the run.

    The end of a run is stored a moment before the engine has done with it. What a page shows until then of its texts
    and times is not final, although the run is, and nobody would be told when it is.
    """
    return not run.status.is_terminal or engine.runs.active_since(run) is not None


def _now(engine: Engine) -> datetime:
    return datetime.fromtimestamp(engine.clock.now(), UTC)


async def _runs_of(engine: Engine, owner: str, status: str, after: str | None) -> tuple[Sequence[Run], str | None]:
    """A page of the runs of a status, and after which run the next page begins, if there may be one."""
    found: list[Run] = []
    limit = 100 if status else _SHOWN_RUNS
    for _ in range(_LOOKED_AT // limit):
        read = await engine.runs.list_all(owner, PageQuery(limit=limit, after=after))
        for number, run in enumerate(read.data, 1):
            after = run.id
            if not status or (not run.status.is_terminal if status == _UNFINISHED else run.status == status):
                found.append(run)
            if len(found) == _SHOWN_RUNS:
                return found, after if read.has_more or number < len(read.data) else None
        if not read.has_more:
            return found, None
    return found, after


async def _names(engine: Engine, owner: str, ids: set[str]) -> dict[str, str]:
    """The names of those assistants that have one and still exist."""
    names: dict[str, str] = {}
    for id in ids:
        try:
            name = (await engine.assistants.retrieve(owner, id)).name
        except ApiError:  # it was deleted; its runs stay
            continue
        if name:
            names[id] = name
    return names


async def _steps_of(engine: Engine, owner: str, run: Run) -> tuple[Sequence[RunStep], bool]:
    """A run's first steps, and whether there are more."""
    steps: list[RunStep] = []
    has_more, after = True, None
    while has_more and len(steps) < _SHOWN_STEPS:
        query = PageQuery(limit=100, order="asc", after=after)
        read = await engine.run_steps.list(owner, run.thread_id, run.id, query, shows_search_content=True)
        steps += read.data
        has_more, after = read.has_more, read.last_id
    return steps, has_more


async def _conversation(engine: Engine, owner: str, run: Run) -> tuple[Sequence[Message], Sequence[Message]]:
    """The messages that a run has written, and the last ones before; both in order."""
    query = PageQuery(limit=100, order="asc")
    said = (await engine.messages.list(owner, run.thread_id, query, run_id=run.id)).data
    query = PageQuery(limit=_MESSAGES_BEFORE, after=said[0].id if said else None)
    before = (await engine.messages.list(owner, run.thread_id, query)).data[::-1]
    return said, before if said else [message for message in before if message.created_at <= run.created_at]
