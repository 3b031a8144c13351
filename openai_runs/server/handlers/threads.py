"""``/threads``: the other half of `openai_runs.services.threads`."""

from functools import partial
from typing import Final

from aiohttp import web

from openai_runs.server.exchange import ENGINE, OWNER, answer, answer_run, read_body
from openai_runs.server.sse_response import stream


async def create(request: web.Request) -> web.Response:
    """Operation ``createThread``."""
    body = await read_body(request, "CreateThreadRequest", required=False)
    return answer(await request.app[ENGINE].threads.create(request[OWNER], body))


async def retrieve(request: web.Request) -> web.Response:
    """Operation ``getThread``."""
    thread_id = request.match_info["thread_id"]
    return answer(await request.app[ENGINE].threads.retrieve(request[OWNER], thread_id))


async def update(request: web.Request) -> web.Response:
    """Operation ``modifyThread``."""
    thread_id = request.match_info["thread_id"]
    body = await read_body(request, "ModifyThreadRequest")
    return answer(await request.app[ENGINE].threads.update(request[OWNER], thread_id, body))


async def delete(request: web.Request) -> web.Response:
    """Operation ``deleteThread``."""
    thread_id = request.match_info["thread_id"]
    return answer(await request.app[ENGINE].threads.delete(request[OWNER], thread_id))


async def create_and_run(request: web.Request) -> web.StreamResponse:
    """Operation ``createThreadAndRun``."""
    body = await read_body(request, "CreateThreadAndRunRequest")
    start = partial(request.app[ENGINE].threads.create_and_run, request[OWNER], body)
    return await stream(request, start) if body.get("stream") else answer_run(request, await start())


_ONE: Final = "/threads/{thread_id:(?!runs$)[^/]+}"  # /threads/runs is no thread, and takes a POST only

ROUTES: Final = (
    ("POST", "/threads", create),
    ("POST", "/threads/runs", create_and_run),
    ("GET", _ONE, retrieve),
    ("POST", _ONE, update),
    ("DELETE", _ONE, delete),
)
