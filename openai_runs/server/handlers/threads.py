"""``/threads``: the server's side of `openai_runs.services.threads`."""

from functools import partial
from typing import Final

from aiohttp import web

from openai_runs._wire.paths import THREAD, THREAD_RUNS, THREADS
from openai_runs.server.exchange import ENGINE, OWNER, json_response, page_response, read_body, run_response
from openai_runs.server.idempotency import once
from openai_runs.server.sse_response import stream
from openai_runs.server.validation import page_query


async def create(request: web.Request) -> web.Response:
    """Operation ``createThread``."""
    body = await read_body(request, "CreateThreadRequest", required=False)
    return json_response(await once(request, request.app[ENGINE].threads.create, request[OWNER], body))


async def retrieve(request: web.Request) -> web.Response:
    """Operation ``getThread``."""
    thread_id = request.match_info["thread_id"]
    return json_response(await request.app[ENGINE].threads.retrieve(request[OWNER], thread_id))


async def list(request: web.Request) -> web.Response:
    """Beyond the API: all threads of the owner."""
    query = page_query(request.query)
    return await page_response(await request.app[ENGINE].threads.list(request[OWNER], query), query)


async def update(request: web.Request) -> web.Response:
    """Operation ``modifyThread``."""
    thread_id = request.match_info["thread_id"]
    body = await read_body(request, "ModifyThreadRequest")
    return json_response(await request.app[ENGINE].threads.update(request[OWNER], thread_id, body))


async def delete(request: web.Request) -> web.Response:
    """Operation ``deleteThread``."""
    thread_id = request.match_info["thread_id"]
    return json_response(await request.app[ENGINE].threads.delete(request[OWNER], thread_id))


async def create_and_run(request: web.Request) -> web.StreamResponse:
    """Operation ``createThreadAndRun``."""
    body = await read_body(request, "CreateThreadAndRunRequest")
    start = partial(once, request, request.app[ENGINE].threads.create_and_run, request[OWNER], body)
    return await stream(request, start) if body.get("stream") else run_response(request, await start())


#: Without the lookahead, a GET of /threads/runs would look for a thread named "runs"; that path only allows POST.
_THREAD: Final = THREAD.replace("{thread_id}", "{thread_id:(?!runs$)[^/]+}")

ROUTES: Final = (
    ("POST", THREADS, create),
    ("GET", THREADS, list),
    ("POST", THREAD_RUNS, create_and_run),
    ("GET", _THREAD, retrieve),
    ("POST", _THREAD, update),
    ("DELETE", _THREAD, delete),
)
