"""``/vector_stores/{vector_store_id}/files``: the server's side of `openai_runs.services.vector_store_files`."""

from typing import Final

from aiohttp import web

from openai_runs._wire.paths import VECTOR_STORE_FILE, VECTOR_STORE_FILE_CONTENT, VECTOR_STORE_FILES
from openai_runs.server.exchange import ENGINE, OWNER, json_response, page_response, read_body
from openai_runs.server.idempotency import once
from openai_runs.server.validation import file_status, page_query


async def create(request: web.Request) -> web.Response:
    """Operation ``createVectorStoreFile``."""
    vector_store_id = request.match_info["vector_store_id"]
    body = await read_body(request, "CreateVectorStoreFileRequest")
    files = request.app[ENGINE].vector_store_files
    return json_response(await once(request, files.create, request[OWNER], vector_store_id, body))


async def retrieve(request: web.Request) -> web.Response:
    """Operation ``getVectorStoreFile``."""
    vector_store_id, file_id = request.match_info["vector_store_id"], request.match_info["file_id"]
    files = request.app[ENGINE].vector_store_files
    return json_response(await files.retrieve(request[OWNER], vector_store_id, file_id))


async def update(request: web.Request) -> web.Response:
    """Operation ``updateVectorStoreFileAttributes``."""
    vector_store_id, file_id = request.match_info["vector_store_id"], request.match_info["file_id"]
    body = await read_body(request, "UpdateVectorStoreFileAttributesRequest")
    files = request.app[ENGINE].vector_store_files
    return json_response(await files.update(request[OWNER], vector_store_id, file_id, body))


async def list(request: web.Request) -> web.Response:
    """Operation ``listVectorStoreFiles``."""
    vector_store_id = request.match_info["vector_store_id"]
    query, status = page_query(request.query), file_status(request.query)
    files = request.app[ENGINE].vector_store_files
    return await page_response(await files.list(request[OWNER], vector_store_id, query, status), query)


async def delete(request: web.Request) -> web.Response:
    """Operation ``deleteVectorStoreFile``."""
    vector_store_id, file_id = request.match_info["vector_store_id"], request.match_info["file_id"]
    files = request.app[ENGINE].vector_store_files
    return json_response(await files.delete(request[OWNER], vector_store_id, file_id))


async def content(request: web.Request) -> web.Response:
    """Operation ``retrieveVectorStoreFileContent``."""
    vector_store_id, file_id = request.match_info["vector_store_id"], request.match_info["file_id"]
    files = request.app[ENGINE].vector_store_files
    return json_response(await files.content(request[OWNER], vector_store_id, file_id))


ROUTES: Final = (
    ("POST", VECTOR_STORE_FILES, create),
    ("GET", VECTOR_STORE_FILES, list),
    ("GET", VECTOR_STORE_FILE, retrieve),
    ("POST", VECTOR_STORE_FILE, update),
    ("DELETE", VECTOR_STORE_FILE, delete),
    ("GET", VECTOR_STORE_FILE_CONTENT, content),
)
