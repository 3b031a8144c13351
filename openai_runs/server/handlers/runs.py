"""``/threads/{thread_id}/runs``: the other half of `openai_runs.services.runs`."""

from functools import partial
from typing import Final

from aiohttp import web

from openai_runs.server.exchange import ENGINE, OWNER, answer_page, answer_run, read_body
from openai_runs.server.sse_response import stream
from openai_runs.server.validation import check_include, page_query


async def create(request: web.Request) -> web.StreamResponse:
    """Operation ``createRun``."""
    thread_id = request.match_info["thread_id"]
    check_include(request.query)
    body = await read_body(request, "CreateRunRequest")
    start = partial(request.app[ENGINE].runs.create, request[OWNER], thread_id, body)
    return await stream(request, start) if body.get("stream") else answer_run(request, await start())


async def retrieve(request: web.Request) -> web.Response:
    """Operation ``getRun``."""
    thread_id, run_id = request.match_info["thread_id"], request.match_info["run_id"]
    return answer_run(request, await request.app[ENGINE].runs.retrieve(request[OWNER], thread_id, run_id))


async def update(request: web.Request) -> web.Response:
    """Operation ``modifyRun``."""
    thread_id, run_id = request.match_info["thread_id"], request.match_info["run_id"]
    body = await read_body(request, "ModifyRunRequest")
    return answer_run(request, await request.app[ENGINE].runs.update(request[OWNER], thread_id, run_id, body))


async def list(request: web.Request) -> web.Response:
    """Operation ``listRuns``."""
    thread_id, query = request.match_info["thread_id"], page_query(request.query)
    return await answer_page(await request.app[ENGINE].runs.list(request[OWNER], thread_id, query), query)


async def cancel(request: web.Request) -> web.Response:
    """Operation ``cancelRun``."""
    thread_id, run_id = request.match_info["thread_id"], request.match_info["run_id"]
    return answer_run(request, await request.app[ENGINE].runs.cancel(request[OWNER], thread_id, run_id))


async def submit_tool_outputs(request: web.Request) -> web.StreamResponse:
    """Operation ``submitToolOuputsToRun``."""
    thread_id, run_id = request.match_info["thread_id"], request.match_info["run_id"]
    body = await read_body(request, "SubmitToolOutputsRunRequest")
    runs, outputs = request.app[ENGINE].runs, body["tool_outputs"]
    submit = partial(runs.submit_tool_outputs, request[OWNER], thread_id, run_id, outputs)
    return await stream(request, submit) if body.get("stream") else answer_run(request, await submit())


_ALL: Final = "/threads/{thread_id}/runs"
_ONE: Final = "/threads/{thread_id}/runs/{run_id}"

ROUTES: Final = (
    ("POST", _ALL, create),
    ("GET", _ALL, list),
    ("GET", _ONE, retrieve),
    ("POST", _ONE, update),
    ("POST", f"{_ONE}/cancel", cancel),
    ("POST", f"{_ONE}/submit_tool_outputs", submit_tool_outputs),
)
