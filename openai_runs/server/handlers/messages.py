"""``/threads/{thread_id}/messages``: the other half of `openai_runs.services.messages`."""

from typing import Final

from aiohttp import web

from openai_runs.server.exchange import ENGINE, OWNER, answer, answer_page, read_body
from openai_runs.server.validation import page_query


async def create(request: web.Request) -> web.Response:
    """Operation ``createMessage``."""
    thread_id = request.match_info["thread_id"]
    body = await read_body(request, "CreateMessageRequest")
    return answer(await request.app[ENGINE].messages.create(request[OWNER], thread_id, body))


async def retrieve(request: web.Request) -> web.Response:
    """Operation ``getMessage``."""
    thread_id, message_id = request.match_info["thread_id"], request.match_info["message_id"]
    return answer(await request.app[ENGINE].messages.retrieve(request[OWNER], thread_id, message_id))


async def update(request: web.Request) -> web.Response:
    """Operation ``modifyMessage``."""
    thread_id, message_id = request.match_info["thread_id"], request.match_info["message_id"]
    body = await read_body(request, "ModifyMessageRequest")
    return answer(await request.app[ENGINE].messages.update(request[OWNER], thread_id, message_id, body))


async def list(request: web.Request) -> web.Response:
    """Operation ``listMessages``."""
    thread_id = request.match_info["thread_id"]
    query, run_id = page_query(request.query), request.query.get("run_id") or None
    return await answer_page(await request.app[ENGINE].messages.list(request[OWNER], thread_id, query, run_id), query)


async def delete(request: web.Request) -> web.Response:
    """Operation ``deleteMessage``."""
    thread_id, message_id = request.match_info["thread_id"], request.match_info["message_id"]
    return answer(await request.app[ENGINE].messages.delete(request[OWNER], thread_id, message_id))


_ALL: Final = "/threads/{thread_id}/messages"
_ONE: Final = "/threads/{thread_id}/messages/{message_id}"

ROUTES: Final = (
    ("POST", _ALL, create),
    ("GET", _ALL, list),
    ("GET", _ONE, retrieve),
    ("POST", _ONE, update),
    ("DELETE", _ONE, delete),
)
