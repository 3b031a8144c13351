"""Bodies and queries of requests to the server, and files of objects for its store."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final
from unittest.mock import Mock, patch

import anyio
from aiohttp.streams import StreamReader
from aiohttp.test_utils import make_mocked_request
from multidict import MultiDict
from yarl import URL

from openai_runs.backends import Call, Say
from openai_runs.engine import ApiError
from openai_runs.models.file import File
from openai_runs.models.run import Run
from openai_runs.server import validation
from openai_runs.server.form import read_form
from openai_runs.stores import MemoryStore
from openai_runs.stores.import_export import (
    ApiObject,
    FilePiece,
    ImportReport,
    export_objects,
    import_objects,
    parse,
)
from openai_runs.stores.records import PageQuery
from tests.engine.index import WordIndex
from tests.engine.world import WEATHER, World, conform, world
from tests.fuzz.seeds import examples, line, objects, stored_objects
from tests.fuzz.target import Target, chosen, first_line, with_head
from tests.samples import PARAMS

_Operation = Callable[[World, dict[str, Any]], Awaitable[Any]]


async def _create_message(w: World, body: dict[str, Any]) -> Any:
    thread = await w.engine.threads.create("", {})
    message = await w.engine.messages.create("", thread.id, body)
    assert (await w.engine.messages.list("", thread.id, PageQuery(limit=100, order="asc"))).data == (message,)
    return message


async def _create_run(w: World, body: dict[str, Any]) -> Any:
    assistant, thread = await w.engine.assistants.create("", {"model": "m"}), await w.engine.threads.create("", {})
    return await w.engine.runs.create("", thread.id, {**body, "assistant_id": assistant.id})


async def _create_both(w: World, body: dict[str, Any]) -> Any:
    assistant = await w.engine.assistants.create("", {"model": "m"})
    return await w.engine.threads.create_and_run("", {**body, "assistant_id": assistant.id})


async def _update_assistant(w: World, body: dict[str, Any]) -> Any:
    return await w.engine.assistants.update("", (await w.engine.assistants.create("", {"model": "m"})).id, body)


async def _update_thread(w: World, body: dict[str, Any]) -> Any:
    return await w.engine.threads.update("", (await w.engine.threads.create("", {})).id, body)


async def _update_message(w: World, body: dict[str, Any]) -> Any:
    message = await _create_message(w, {"role": "user", "content": "Hi"})
    return await w.engine.messages.update("", message.thread_id, message.id, body)


async def _update_run(w: World, body: dict[str, Any]) -> Any:
    run = await w.start("Hi")
    return await w.engine.runs.update("", run.thread_id, run.id, body)


async def _submit(w: World, body: dict[str, Any]) -> Any:
    run = await w.until("run.requires_action", await w.start("Hi", tools=[WEATHER]))
    return await w.engine.runs.submit_tool_outputs("", run.thread_id, run.id, body["tool_outputs"])


async def _file(w: World) -> str:
    async with w.engine.files.uploading("") as upload:
        await upload.write(b"some text")
        return (await w.engine.files.create("", {"purpose": "assistants"}, "a.txt", upload)).id


async def _update_vector_store(w: World, body: dict[str, Any]) -> Any:
    return await w.engine.vector_stores.update("", (await w.engine.vector_stores.create("", {})).id, body)


async def _search(w: World, body: dict[str, Any]) -> Any:
    store = await w.engine.vector_stores.create("", {"file_ids": [await _file(w)]})
    return await w.engine.vector_stores.search("", store.id, body)


async def _create_entry(w: World, body: dict[str, Any]) -> Any:
    store = await w.engine.vector_stores.create("", {})
    return await w.engine.vector_store_files.create("", store.id, {**body, "file_id": await _file(w)})


async def _update_entry(w: World, body: dict[str, Any]) -> Any:
    entry = await _create_entry(w, {})
    return await w.engine.vector_store_files.update("", entry.vector_store_id, entry.id, body)


async def _create_batch(w: World, body: dict[str, Any]) -> Any:
    store = await w.engine.vector_stores.create("", {})
    if "files" in body:
        body = {**body, "files": [{**each, "file_id": await _file(w)} for each in body["files"]]}
    else:
        body = {**body, "file_ids": [await _file(w)]}
    return await w.engine.vector_store_file_batches.create("", store.id, body)


_OPERATIONS: Final[dict[str, _Operation]] = {
    "CreateAssistantRequest": lambda w, body: w.engine.assistants.create("", body),
    "CreateMessageRequest": _create_message,
    "CreateRunRequest": _create_run,
    "CreateThreadAndRunRequest": _create_both,
    "CreateThreadRequest": lambda w, body: w.engine.threads.create("", body),
    "ModifyAssistantRequest": _update_assistant,
    "ModifyMessageRequest": _update_message,
    "ModifyRunRequest": _update_run,
    "ModifyThreadRequest": _update_thread,
    "SubmitToolOutputsRunRequest": _submit,
    "CreateVectorStoreRequest": lambda w, body: w.engine.vector_stores.create("", body),
    "UpdateVectorStoreRequest": _update_vector_store,
    "VectorStoreSearchRequest": _search,
    "CreateVectorStoreFileRequest": _create_entry,
    "UpdateVectorStoreFileAttributesRequest": _update_entry,
    "CreateVectorStoreFileBatchRequest": _create_batch,
}


def bodies(data: bytes) -> None:
    """A body is refused by a 400 that says why, or the operation is carried out, or refuses it by a 4xx of its own.

    Both ways of reading, at once and with breaks, agree. What an operation returns is what the document says, and a run
    that it starts comes to an end: no body is an error of the server's.
    """
    head, text = first_line(data)
    schema, _ = chosen(head, PARAMS)
    one = _checked(lambda: validation.check(validation.parse(text), schema))
    with patch.object(validation, "_LARGE", 0):  # so that a small body is read with breaks
        other = _checked(lambda: anyio.run(validation.read, text, schema))
    if isinstance(one, ApiError):
        assert isinstance(other, ApiError)
        assert (one.message, one.param, one.code) == (other.message, other.param, other.code)
        return
    assert one == other
    anyio.run(_carry_out, _OPERATIONS[schema], one)


def _checked(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except ApiError as error:
        assert (error.status, error.type) == (400, "invalid_request_error")
        assert 0 < len(error.message) < 2000
        return error


async def _carry_out(operation: _Operation, body: dict[str, Any]) -> None:
    script = [[Call("get_weather", id="call_001")], [Say("Fine.")]]
    async with world(script if operation is _submit else script[1:], index=WordIndex()) as w:
        try:
            made = conform(await operation(w, body))
        except ApiError as error:
            assert 400 <= error.status < 500
            return
        if isinstance(made, Run) and made.status in ("queued", "in_progress"):
            with anyio.fail_after(20):
                while made.status in ("queued", "in_progress"):
                    await anyio.lowlevel.checkpoint()
                    made = await w.get(made)
            error = made.last_error
            assert error is None or error.code != "server_error", error


def queries(data: bytes) -> None:
    """Any query string is a page of 1 to 100 objects, or refused by a 400 that names the parameter."""
    query: MultiDict[str] = MultiDict(URL(f"?{data.decode(errors='replace')}", encoded=True).query)
    page = _checked(lambda: validation.page_query(query))
    if isinstance(page, ApiError):
        assert page.param in ("limit", "order")
    else:
        assert 1 <= page.limit <= 100
        assert page.order in ("asc", "desc")
        assert "" not in (page.after, page.before)
    shows = _checked(lambda: validation.shows_search_content(query))
    assert shows in (True, False) or shows.param == "include"


def imports(data: bytes) -> None:
    """Any file is imported as far as it is one, and each part that is not is a problem with its line.

    Nothing is counted twice or lost, no run is left unfinished, and a second import adds nothing. What is exported is
    without problems, and an export of its import is the same.
    """
    anyio.run(_import, data)


async def _import(data: bytes) -> None:
    store = MemoryStore()
    found, report = await _bring(store, data)
    found = [item for item in found if not isinstance(item, File | FilePiece)]  # which are imported together, or not
    kinds = {(type(item), item.id) for item in found}
    files = report.added["file"]
    assert sum(report.added.values()) - files == len(kinds) + report.created_threads
    assert report.already_present >= len(found) - len(kinds)
    assert all(problem.startswith("file:") for problem in report.problems)
    _, second = await _bring(store, data)
    assert not any(second.added.values())
    exported = [text async for text in export_objects(store)]
    assert len([text for text in exported if b'"file.content"' not in text]) >= sum(report.added.values())
    other = MemoryStore()
    loaded, third = await _bring(other, b"".join(exported))
    assert (third.problems, third.added, third.ended) == ([], report.added, 0)
    assert all(item.status.is_terminal for item in loaded if isinstance(item, Run))
    assert sorted([text async for text in export_objects(other)]) == sorted(exported)


async def _bring(store: MemoryStore, data: bytes) -> tuple[list[ApiObject | FilePiece], ImportReport]:
    report = ImportReport()
    found = list(parse("file", data, report))
    async for _ in import_objects(store, found, report):
        pass
    return found, report


def uploads(data: bytes) -> None:
    """Any form is fields and a file whose bytes are in it, or refused by a 4xx that says why."""
    anyio.run(_upload, data)


async def _upload(data: bytes) -> None:
    stream = StreamReader(Mock(_reading_paused=False), 2**16, loop=asyncio.get_running_loop())
    stream.feed_data(data)
    stream.feed_eof()
    headers = {"Content-Type": "multipart/form-data; boundary=X"}
    request = make_mocked_request("POST", "/files", headers=headers, payload=stream)
    taken: list[bytes] = []

    async def take(piece: bytes) -> None:
        taken.append(piece)

    try:
        form = await read_form(request, "file", take)
    except ApiError as error:
        assert 400 <= error.status < 500
        assert 0 < len(error.message) < 2000
        return
    assert b"".join(taken) in data
    assert taken == [] or form.filename is not None
    (form.filename or "").encode()
    line(form.fields).encode()


def _upload_seeds() -> Iterator[bytes]:
    part = b'--X\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
    purpose = part % (b"purpose", b"", b"assistants")
    file = part % (b"file", b'; filename="a.txt"\r\nContent-Type: text/plain', b"some text\r\n--X-")
    expiry = part % (b"expires_after[anchor]", b"", b"created_at") + part % (b"expires_after[seconds]", b"", b"3600")
    yield purpose + file + expiry + b"--X--\r\n"
    yield file + purpose + b"--X--"
    yield part % (b"file", b"; filename*=utf-8''%C3%A4", b"") + part % (b"_charset_", b"", b"utf-8") + b"--X--"


def _body_seeds() -> Iterator[bytes]:
    for schema, body in examples("request"):
        yield with_head(schema, line(body))
    for schema in PARAMS:
        yield with_head(schema, line({"metadata": {"a": "b"}}))
    image = {"type": "image_url", "image_url": {"url": "https://example.org/i.png", "detail": "low"}}
    message = {"role": "user", "content": [{"type": "text", "text": "a"}, image]}
    message["attachments"] = [{"file_id": "file_1", "tools": [{"type": "file_search"}]}]
    resources = {"file_search": {"vector_stores": [{"file_ids": ["file_1"], "chunking_strategy": {"type": "auto"}}]}}
    run = {
        "assistant_id": "asst_1",
        "additional_messages": [message],
        "tools": [WEATHER, {"type": "file_search", "file_search": {"ranking_options": {"score_threshold": 0.5}}}],
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        "truncation_strategy": {"type": "last_messages", "last_messages": 3},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        "temperature": 1,
        "max_prompt_tokens": 300,
        "max_completion_tokens": 300,
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
    }
    yield with_head("CreateMessageRequest", line(message))
    sizes = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 50}}
    entry = {"file_id": "file-1", "attributes": {"a": 1, "b": True, "c": "d"}, "chunking_strategy": sizes}
    ranking = {"ranker": "none", "score_threshold": 0.5}
    one = {"type": "in", "key": "a", "value": [1, "b"]}
    condition = {"type": "and", "filters": [one, {"type": "or", "filters": [one]}]}
    expiry = {"anchor": "last_active_at", "days": 3}
    yield with_head("CreateVectorStoreRequest", line({"name": "n", "expires_after": expiry}))
    yield with_head("UpdateVectorStoreRequest", line({"name": None, "expires_after": expiry}))
    yield with_head("CreateVectorStoreFileRequest", line(entry))
    yield with_head("UpdateVectorStoreFileAttributesRequest", line({"attributes": entry["attributes"]}))
    yield with_head("CreateVectorStoreFileBatchRequest", line({"files": [entry]}))
    yield with_head(
        "VectorStoreSearchRequest", line({"query": ["text"], "filters": condition, "ranking_options": ranking})
    )
    yield with_head("CreateThreadRequest", line({"messages": [message], "tool_resources": resources}))
    yield with_head("CreateRunRequest", line(run))
    yield with_head("CreateThreadAndRunRequest", line({"assistant_id": "a", "thread": {"messages": [message]}}))
    yield with_head(
        "SubmitToolOutputsRunRequest", line({"tool_outputs": [{"tool_call_id": "call_001", "output": "x"}]})
    )


def _query_seeds() -> Iterator[bytes]:
    yield b"limit=20&order=asc&after=run_1&before=run_2"
    yield b"limit=-1&order=up&include[]=step_details.tool_calls[*].file_search.results[*].content"
    yield b"limit=%31%30&include[]=x&limit=101"


def _import_seeds() -> Iterator[bytes]:
    yield from (line(body).encode() for _, body in objects())
    yield "\n".join(map(line, stored_objects())).encode()
    yield line(stored_objects()[:9]).encode()


TARGETS = (
    Target("bodies", bodies, _body_seeds),
    Target("queries", queries, _query_seeds),
    Target("imports", imports, _import_seeds),
    Target("uploads", uploads, _upload_seeds),
)
