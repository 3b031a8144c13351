"""``/threads/{thread_id}/runs``: the server's side of `openai_runs.services.runs`."""

from functools import partial
from typing import Final

from aiohttp import web

from openai_runs._wire.paths import ALL_RUNS, PREFERENCE_APPLIED, RUN, RUN_BY_ID, RUN_CHANGES, RUNS, WAIT
from openai_runs.server.exchange import ENGINE, OWNER, page_response, read_body, run_response
from openai_runs.server.idempotency import once
from openai_runs.server.run_changes import stream_changes
from openai_runs.server.sse_response import stream
from openai_runs.server.validation import page_query, shows_search_content
from openai_runs.server.waiting import WAITING_POLLS, Preference


async def create(request: web.Request) -> web.StreamResponse:
    """Operation ``createRun``."""
    thread_id = request.match_info["thread_id"]
    shows_content = shows_search_content(request.query)
    body = await read_body(request, "CreateRunRequest")
    runs = request.app[ENGINE].runs
    create_run = partial(runs.create, shows_search_content=shows_content)
    start = partial(once, request, create_run, request[OWNER], thread_id, body)
    return await stream(request, start) if body.get("stream") else run_response(request, await start())


async def retrieve(request: web.Request) -> web.StreamResponse:
    """Operation ``getRun``."""
    ids = request.match_info["thread_id"], request.match_info["run_id"]
    if (preference := Preference.of(request.headers)) is None:
        return run_response(request, await request.app[ENGINE].runs.retrieve(request[OWNER], *ids))
    response = run_response(request, await request.app[WAITING_POLLS].retrieve(request[OWNER], *ids, preference))
    response.headers[PREFERENCE_APPLIED] = WAIT
    return response


async def update(request: web.Request) -> web.StreamResponse:
    """Operation ``modifyRun``."""
    thread_id, run_id = request.match_info["thread_id"], request.match_info["run_id"]
    body = await read_body(request, "ModifyRunRequest")
    return run_response(request, await request.app[ENGINE].runs.update(request[OWNER], thread_id, run_id, body))


async def list(request: web.Request) -> web.Response:
    """Operation ``listRuns``."""
    thread_id, query = request.match_info["thread_id"], page_query(request.query)
    engine = request.app[ENGINE]
    page = await engine.runs.list(request[OWNER], thread_id, query)
    return await page_response(page, query, engine.json)


async def list_all(request: web.Request) -> web.Response:
    """Beyond the API: the owner's runs on all threads."""
    query = page_query(request.query)
    return await page_response(await request.app[ENGINE].runs.list_all(request[OWNER], query), query)


async def find(request: web.Request) -> web.StreamResponse:
    """Beyond the API: a run by its own ID."""
    return run_response(request, await request.app[ENGINE].runs.find(request[OWNER], request.match_info["run_id"]))


async def cancel(request: web.Request) -> web.StreamResponse:
    """Operation ``cancelRun``."""
    thread_id, run_id = request.match_info["thread_id"], request.match_info["run_id"]
    return run_response(request, await request.app[ENGINE].runs.cancel(request[OWNER], thread_id, run_id))


async def submit_tool_outputs(request: web.Request) -> web.StreamResponse:
    """Operation ``submitToolOuputsToRun``."""
    thread_id, run_id = request.match_info["thread_id"], request.match_info["run_id"]
    body = await read_body(request, "SubmitToolOutputsRunRequest")
    runs, outputs = request.app[ENGINE].runs, body["tool_outputs"]
    submit = partial(once, request, runs.submit_tool_outputs, request[OWNER], thread_id, run_id, outputs)
    return await stream(request, submit) if body.get("stream") else run_response(request, await submit())


ROUTES: Final = (
    ("POST", RUNS, create),
    ("GET", RUNS, list),
    ("GET", RUN, retrieve),
    ("POST", RUN, update),
    ("POST", f"{RUN}/cancel", cancel),
    ("POST", f"{RUN}/submit_tool_outputs", submit_tool_outputs),
    ("GET", ALL_RUNS, list_all),
    ("GET", RUN_CHANGES, stream_changes),
    ("GET", RUN_BY_ID, find),
)
