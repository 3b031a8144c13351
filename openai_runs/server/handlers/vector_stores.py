"""``/vector_stores``: the server's side of `openai_runs.services.vector_stores`."""

from typing import Final

from aiohttp import web

from openai_runs._wire.paths import VECTOR_STORE, VECTOR_STORES
from openai_runs.server.exchange import ENGINE, OWNER, json_response, page_response, read_body
from openai_runs.server.idempotency import once
from openai_runs.server.validation import page_query


async def create(request: web.Request) -> web.Response:
    """Operation ``createVectorStore``."""
    body = await read_body(request, "CreateVectorStoreRequest")
    return json_response(await once(request, request.app[ENGINE].vector_stores.create, request[OWNER], body))


async def retrieve(request: web.Request) -> web.Response:
    """Operation ``getVectorStore``."""
    vector_store_id = request.match_info["vector_store_id"]
    return json_response(await request.app[ENGINE].vector_stores.retrieve(request[OWNER], vector_store_id))


async def update(request: web.Request) -> web.Response:
    """Operation ``modifyVectorStore``."""
    vector_store_id = request.match_info["vector_store_id"]
    body = await read_body(request, "UpdateVectorStoreRequest")
    return json_response(await request.app[ENGINE].vector_stores.update(request[OWNER], vector_store_id, body))


async def list(request: web.Request) -> web.Response:
    """Operation ``listVectorStores``."""
    query = page_query(request.query)
    return await page_response(await request.app[ENGINE].vector_stores.list(request[OWNER], query), query)


async def delete(request: web.Request) -> web.Response:
    """Operation ``deleteVectorStore``."""
    vector_store_id = request.match_info["vector_store_id"]
    return json_response(await request.app[ENGINE].vector_stores.delete(request[OWNER], vector_store_id))


async def search(request: web.Request) -> web.Response:
    """Operation ``searchVectorStore``."""
    vector_store_id = request.match_info["vector_store_id"]
    body = await read_body(request, "VectorStoreSearchRequest")
    return json_response(await request.app[ENGINE].vector_stores.search(request[OWNER], vector_store_id, body))


ROUTES: Final = (
    ("POST", VECTOR_STORES, create),
    ("GET", VECTOR_STORES, list),
    ("GET", VECTOR_STORE, retrieve),
    ("POST", VECTOR_STORE, update),
    ("DELETE", VECTOR_STORE, delete),
    ("POST", f"{VECTOR_STORE}/search", search),
)
