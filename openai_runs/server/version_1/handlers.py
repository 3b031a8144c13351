"""Operations that version 1 had and version 2 has not, or has otherwise."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, TypeAlias
from weakref import WeakValueDictionary

import anyio
from aiohttp import web
from aiohttp.typedefs import Handler

from openai_runs import _wire
from openai_runs._wire.paths import ASSISTANT, MESSAGE
from openai_runs.engine.errors import not_found
from openai_runs.server import validation
from openai_runs.server.exchange import ENGINE, OWNER, json_response, read_body
from openai_runs.server.handlers import assistants
from openai_runs.server.validation_errors import too_many_items
from openai_runs.server.version_1.assistant_files import files_of, with_files
from openai_runs.server.version_1.upgrading import MAX_ASSISTANT_FILES
from openai_runs.stores.records import PageQuery

Json: TypeAlias = dict[str, Any]

#: By the IDs of assistants; each is dropped when it is no longer in use.
LOCKS: Final = web.AppKey("version_1_locks", WeakValueDictionary[str, anyio.Lock])


async def update_assistant(request: web.Request) -> web.Response:
    """Operation ``modifyAssistant``, with file IDs."""
    engine, owner, id = request.app[ENGINE], request[OWNER], request.match_info["assistant_id"]
    body = await read_body(request, "ModifyAssistantRequest")
    file_ids = validation.parse(await request.read()).get("file_ids")  # checked with the body, and left out of it
    return json_response(await engine.assistants.update(owner, id, await with_files(engine, owner, id, body, file_ids)))


async def create_assistant_file(request: web.Request) -> web.Response:
    """Operation ``createAssistantFile``."""
    id = request.match_info["assistant_id"]
    body = await read_body(request, "CreateVectorStoreFileRequest")
    async with _changing(request):
        ids = await _assistant_files(request)
        if body["file_id"] not in ids:
            await _replace_files(request, [*ids, body["file_id"]])
    return _response(_assistant_file(await _created_at(request), id, body["file_id"]))


async def list_assistant_files(request: web.Request) -> web.Response:
    """Operation ``listAssistantFiles``."""
    created_at, id = await _created_at(request), request.match_info["assistant_id"]
    ids = await _assistant_files(request)
    return _page([_assistant_file(created_at, id, file_id) for file_id in ids], validation.page_query(request.query))


async def retrieve_assistant_file(request: web.Request) -> web.Response:
    """Operation ``getAssistantFile``."""
    id, file_id = await _one_assistant_file(request)
    return _response(_assistant_file(await _created_at(request), id, file_id))


async def delete_assistant_file(request: web.Request) -> web.Response:
    """Operation ``deleteAssistantFile``: the file itself stays."""
    async with _changing(request):
        _, file_id = await _one_assistant_file(request)
        await _replace_files(request, [id for id in await _assistant_files(request) if id != file_id])
    return _response({"id": file_id, "object": "assistant.file.deleted", "deleted": True})


async def list_message_files(request: web.Request) -> web.Response:
    """Operation ``listMessageFiles``."""
    return _page(await _message_files(request), validation.page_query(request.query))


async def retrieve_message_file(request: web.Request) -> web.Response:
    """Operation ``getMessageFile``."""
    file_id = request.match_info["file_id"]
    for file in await _message_files(request):
        if file["id"] == file_id:
            return _response(file)
    raise not_found("file", file_id)


def _changing(request: web.Request) -> anyio.Lock:
    """The lock of an assistant whose files are changed: they are read, and then replaced in several commits."""
    locks, id = request.app[LOCKS], request.match_info["assistant_id"]
    if (lock := locks.get(id)) is None:
        lock = locks[id] = anyio.Lock(fast_acquire=True)
    return lock


async def _created_at(request: web.Request) -> int:
    """When the assistant was created, which stands for when its files were attached.

    Raises:
        ApiError: 404: there is no such assistant.
    """
    assistant = await request.app[ENGINE].assistants.retrieve(request[OWNER], request.match_info["assistant_id"])
    return int(assistant.created_at.timestamp())


async def _assistant_files(request: web.Request) -> Sequence[str]:
    await _created_at(request)
    return await files_of(request.app[ENGINE], request[OWNER], request.match_info["assistant_id"])


async def _one_assistant_file(request: web.Request) -> tuple[str, str]:
    file_id = request.match_info["file_id"]
    if file_id not in await _assistant_files(request):
        raise not_found("file", file_id)
    return request.match_info["assistant_id"], file_id


async def _replace_files(request: web.Request, ids: Sequence[str]) -> None:
    if len(ids) > MAX_ASSISTANT_FILES:
        raise too_many_items(["file_ids"], ids, MAX_ASSISTANT_FILES)
    engine, owner, id = request.app[ENGINE], request[OWNER], request.match_info["assistant_id"]
    await engine.assistants.update(owner, id, await with_files(engine, owner, id, {}, ids))


def _assistant_file(created_at: int, assistant_id: str, file_id: str) -> Json:
    return {"id": file_id, "object": "assistant.file", "created_at": created_at, "assistant_id": assistant_id}


async def _message_files(request: web.Request) -> Sequence[Json]:
    ids = request.match_info["thread_id"], request.match_info["message_id"]
    message = await request.app[ENGINE].messages.retrieve(request[OWNER], *ids)
    about = {
        "object": "thread.message.file",
        "created_at": int(message.created_at.timestamp()),
        "message_id": message.id,
    }
    file_ids = dict.fromkeys(attachment.file_id for attachment in message.attachments or () if attachment.file_id)
    return [{"id": file_id, **about} for file_id in file_ids]


def _response(shown: Json) -> web.Response:
    return web.Response(body=_wire.encode_plain(shown), content_type="application/json")


def _page(items: Sequence[Json], query: PageQuery) -> web.Response:
    """A page of a list that is known as a whole."""
    found = items if query.order == "asc" else items[::-1]
    ids = [item["id"] for item in found]
    start = 0 if query.after is None else _place(query.after, ids) + 1
    end = len(ids) if query.before is None else _place(query.before, ids)
    found = found[start:end]
    goes_back = query.before is not None and query.after is None
    data = found[-query.limit :] if goes_back else found[: query.limit]
    first, last = (data[0]["id"], data[-1]["id"]) if data else ("", "")
    has_more = len(data) < len(found)
    return _response({"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more})


def _place(id: str, ids: Sequence[str]) -> int:
    if id not in ids:
        raise not_found("file", id)
    return ids.index(id)


_ASSISTANT_FILES: Final = f"{ASSISTANT}/files"
_ASSISTANT_FILE: Final = f"{ASSISTANT}/files/{{file_id}}"
_MESSAGE_FILES: Final = f"{MESSAGE}/files"
_MESSAGE_FILE: Final = f"{MESSAGE}/files/{{file_id}}"

ROUTES: Final = (
    ("POST", _ASSISTANT_FILES, create_assistant_file),
    ("GET", _ASSISTANT_FILES, list_assistant_files),
    ("GET", _ASSISTANT_FILE, retrieve_assistant_file),
    ("DELETE", _ASSISTANT_FILE, delete_assistant_file),
    ("GET", _MESSAGE_FILES, list_message_files),
    ("GET", _MESSAGE_FILE, retrieve_message_file),
)

#: What is done for a request of version 1 in place of a handler of version 2.
IN_PLACE_OF: Final[Mapping[Handler, Handler]] = {assistants.update: update_assistant}
#: What no client of version 2 finds.
ONLY_HERE: Final[Collection[Handler]] = frozenset(handler for _, _, handler in ROUTES)
