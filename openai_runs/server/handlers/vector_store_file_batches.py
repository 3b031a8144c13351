"""``/vector_stores/{vector_store_id}/file_batches``: the server's side of its service."""

from typing import Final

from aiohttp import web

from openai_runs._wire.paths import VECTOR_STORE_BATCH, VECTOR_STORE_BATCH_FILES, VECTOR_STORE_BATCHES
from openai_runs.server.exchange import ENGINE, OWNER, json_response, page_response, read_body
from openai_runs.server.idempotency import once
from openai_runs.server.validation import file_status, page_query


async def create(request: web.Request) -> web.Response:
    """Operation ``createVectorStoreFileBatch``."""
    vector_store_id = request.match_info["vector_store_id"]
    body = await read_body(request, "CreateVectorStoreFileBatchRequest")
    batches = request.app[ENGINE].vector_store_file_batches
    return json_response(await once(request, batches.create, request[OWNER], vector_store_id, body))


async def retrieve(request: web.Request) -> web.Response:
    """Operation ``getVectorStoreFileBatch``."""
    vector_store_id, batch_id = request.match_info["vector_store_id"], request.match_info["batch_id"]
    batches = request.app[ENGINE].vector_store_file_batches
    return json_response(await batches.retrieve(request[OWNER], vector_store_id, batch_id))


async def cancel(request: web.Request) -> web.Response:
    """Operation ``cancelVectorStoreFileBatch``."""
    vector_store_id, batch_id = request.match_info["vector_store_id"], request.match_info["batch_id"]
    batches = request.app[ENGINE].vector_store_file_batches
    return json_response(await batches.cancel(request[OWNER], vector_store_id, batch_id))


async def list_files(request: web.Request) -> web.Response:
    """Operation ``listFilesInVectorStoreBatch``."""
    vector_store_id, batch_id = request.match_info["vector_store_id"], request.match_info["batch_id"]
    query, status = page_query(request.query), file_status(request.query)
    batches = request.app[ENGINE].vector_store_file_batches
    page = await batches.list_files(request[OWNER], vector_store_id, batch_id, query, status)
    return await page_response(page, query)


ROUTES: Final = (
    ("POST", VECTOR_STORE_BATCHES, create),
    ("GET", VECTOR_STORE_BATCH, retrieve),
    ("POST", f"{VECTOR_STORE_BATCH}/cancel", cancel),
    ("GET", VECTOR_STORE_BATCH_FILES, list_files),
)
