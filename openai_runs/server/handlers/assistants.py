"""``/assistants``: the server's side of `openai_runs.services.assistants`."""

from typing import Final

from aiohttp import web

from openai_runs._wire.paths import ASSISTANT, ASSISTANTS
from openai_runs.server.exchange import ENGINE, OWNER, json_response, page_response, read_body
from openai_runs.server.idempotency import once
from openai_runs.server.validation import page_query


async def create(request: web.Request) -> web.Response:
    """Operation ``createAssistant``."""
    body = await read_body(request, "CreateAssistantRequest")
    return json_response(await once(request, request.app[ENGINE].assistants.create, request[OWNER], body))


async def retrieve(request: web.Request) -> web.Response:
    """Operation ``getAssistant``."""
    assistant_id = request.match_info["assistant_id"]
    return json_response(await request.app[ENGINE].assistants.retrieve(request[OWNER], assistant_id))


async def update(request: web.Request) -> web.Response:
    """Operation ``modifyAssistant``."""
    assistant_id = request.match_info["assistant_id"]
    body = await read_body(request, "ModifyAssistantRequest")
    return json_response(await request.app[ENGINE].assistants.update(request[OWNER], assistant_id, body))


async def list(request: web.Request) -> web.Response:
    """Operation ``listAssistants``."""
    query = page_query(request.query)
    return await page_response(await request.app[ENGINE].assistants.list(request[OWNER], query), query)


async def delete(request: web.Request) -> web.Response:
    """Operation ``deleteAssistant``."""
    assistant_id = request.match_info["assistant_id"]
    return json_response(await request.app[ENGINE].assistants.delete(request[OWNER], assistant_id))


ROUTES: Final = (
    ("POST", ASSISTANTS, create),
    ("GET", ASSISTANTS, list),
    ("GET", ASSISTANT, retrieve),
    ("POST", ASSISTANT, update),
    ("DELETE", ASSISTANT, delete),
)
