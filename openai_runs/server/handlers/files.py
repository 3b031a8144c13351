"""``/files``: the server's side of `openai_runs.services.files`."""

import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from aiohttp import web

from openai_runs._wire.paths import FILE, FILE_CONTENT, FILES
from openai_runs.server.exchange import ENGINE, OWNER, json_response, page_response
from openai_runs.server.form import FORM_BYTES, Form, read_form
from openai_runs.server.idempotency import once
from openai_runs.server.validation import check, page_query

_MAX_PAGE: Final = 10_000  #: files in a page, and the default
_is_integer: Final = re.compile("-?[0-9]{1,18}").fullmatch


async def create(request: web.Request) -> web.Response:
    """Operation ``createFile``."""
    files, owner = request.app[ENGINE].files, request[OWNER]
    if (request.content_length or 0) > files.max_bytes + FORM_BYTES:  # not worth receiving
        raise files.too_large()
    async with files.uploading(owner) as upload:
        form = await read_form(request, "file", upload.write)
        body = check(_body(form), "CreateFileRequest")
        content = repr((body, await upload.draft.fingerprint())).encode()
        file = await once(request, files.create, owner, body, body["file"], upload, content=content)
    return json_response(file)


def _body(form: Form) -> dict[str, Any]:
    """The form as the document has it; of the file, its name."""
    body = form.fields
    expiration = body.get("expires_after")
    if isinstance(expiration, dict) and _is_integer(str(expiration.get("seconds"))):
        expiration["seconds"] = int(expiration["seconds"])
    return body if form.filename is None else {**body, "file": form.filename}


async def retrieve(request: web.Request) -> web.Response:
    """Operation ``retrieveFile``."""
    return json_response(await request.app[ENGINE].files.retrieve(request[OWNER], request.match_info["file_id"]))


async def list(request: web.Request) -> web.Response:
    """Operation ``listFiles``."""
    query, purpose = page_query(request.query, most=_MAX_PAGE, default=_MAX_PAGE), request.query.get("purpose") or None
    return await page_response(await request.app[ENGINE].files.list(request[OWNER], query, purpose), query)


async def delete(request: web.Request) -> web.Response:
    """Operation ``deleteFile``."""
    return json_response(await request.app[ENGINE].files.delete(request[OWNER], request.match_info["file_id"]))


async def content(request: web.Request) -> web.StreamResponse:
    """Operation ``downloadFile``."""
    file, source = await request.app[ENGINE].files.content(request[OWNER], request.match_info["file_id"])
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.filename, safe='')}",
        "X-Content-Type-Options": "nosniff",  # whatever it is, no browser is to run it
    }
    if isinstance(source, Path):
        return web.FileResponse(source, headers=headers)
    if isinstance(source, bytes):
        return web.Response(body=source, headers=headers)
    response = web.StreamResponse(headers=headers)
    response.content_length = source.size
    await response.prepare(request)
    async for piece in source:  # if it is deleted meanwhile, the response ends too early, which the client notices
        await response.write(piece)
    return response


ROUTES: Final = (
    ("POST", FILES, create),
    ("GET", FILES, list),
    ("GET", FILE_CONTENT, content),
    ("GET", FILE, retrieve),
    ("DELETE", FILE, delete),
)
