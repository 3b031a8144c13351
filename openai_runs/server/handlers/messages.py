"""``/threads/{thread_id}/messages``: the server's side of `openai_runs.services.messages`."""

from typing import Final

from aiohttp import web

from openai_runs._wire.paths import MESSAGE, MESSAGES
from openai_runs.server.exchange import ENGINE, OWNER, json_response, page_response, read_body, text_response
from openai_runs.server.idempotency import once
from openai_runs.server.validation import page_query


async def create(request: web.Request) -> web.StreamResponse:
    """Operation ``createMessage``."""
    thread_id, engine = request.match_info["thread_id"], request.app[ENGINE]
    body = await read_body(request, "CreateMessageRequest")
    message = await once(request, engine.messages.create, request[OWNER], thread_id, body)
    return text_response(request, engine.json(message))


async def retrieve(request: web.Request) -> web.Response:
    """Operation ``getMessage``."""
    thread_id, message_id = request.match_info["thread_id"], request.match_info["message_id"]
    return json_response(await request.app[ENGINE].messages.retrieve(request[OWNER], thread_id, message_id))


async def update(request: web.Request) -> web.Response:
    """Operation ``modifyMessage``."""
    thread_id, message_id = request.match_info["thread_id"], request.match_info["message_id"]
    body = await read_body(request, "ModifyMessageRequest")
    return json_response(await request.app[ENGINE].messages.update(request[OWNER], thread_id, message_id, body))


async def list(request: web.Request) -> web.Response:
    """Operation ``listMessages``."""
    thread_id = request.match_info["thread_id"]
    query, run_id = page_query(request.query), request.query.get("run_id") or None
    engine = request.app[ENGINE]
    page = await engine.messages.list(request[OWNER], thread_id, query, run_id)
    return await page_response(page, query, engine.json)


async def delete(request: web.Request) -> web.Response:
    """Operation ``deleteMessage``."""
    thread_id, message_id = request.match_info["thread_id"], request.match_info["message_id"]
    return json_response(await request.app[ENGINE].messages.delete(request[OWNER], thread_id, message_id))


ROUTES: Final = (
    ("POST", MESSAGES, create),
    ("GET", MESSAGES, list),
    ("GET", MESSAGE, retrieve),
    ("POST", MESSAGE, update),
    ("DELETE", MESSAGE, delete),
)
