"""The files of an assistant: those of its vector store and those of its code interpreter, which have one list."""

from collections.abc import Sequence
from typing import Any, Final

from openai_runs import _wire
from openai_runs.engine import ApiError, Engine
from openai_runs.models.assistant import Assistant
from openai_runs.server.version_1.upgrading import MAX_ASSISTANT_FILES, is_for_code, is_for_search
from openai_runs.stores.records import PageQuery

#: How many files of a vector store are shown: more than an assistant of version 1 could have.
_SHOWN: Final = PageQuery(limit=100, order="asc")


async def files_of(engine: Engine, owner: str, assistant_id: str) -> Sequence[str]:
    """The IDs of an assistant's files; none if it is gone, and its runs are not."""
    try:
        assistant = await engine.assistants.retrieve(owner, assistant_id)
    except ApiError:
        return ()
    return await _files_of(engine, owner, assistant)


async def _files_of(engine: Engine, owner: str, assistant: Assistant) -> Sequence[str]:
    resources = assistant.tool_resources
    code = None if resources is None else resources.code_interpreter
    in_store = await _in_store(engine, owner, _store_of(assistant))
    return tuple(dict.fromkeys([*(() if code is None else code.file_ids), *(in_store or ())]))


def _store_of(assistant: Assistant) -> str | None:
    search = None if assistant.tool_resources is None else assistant.tool_resources.file_search
    return next(iter(() if search is None else search.vector_store_ids), None)


async def _in_store(engine: Engine, owner: str, store_id: str | None) -> Sequence[str] | None:
    """The files in a vector store; ``None`` if there is none here: it was deleted, or is at the model's endpoint."""
    if store_id is None:
        return None
    try:
        page = await engine.vector_store_files.list(owner, store_id, _SHOWN)
    except ApiError:
        return None
    return tuple(file.id for file in page.data)


async def with_files(
    engine: Engine, owner: str, assistant_id: str, body: dict[str, Any], file_ids: Sequence[str] | None
) -> dict[str, Any]:
    """Have an assistant's files where its tools find them, before it is updated.

    A vector store that it has is changed; others that use it see that.

    Args:
        engine: The engine.
        owner: The assistant's owner.
        assistant_id: The assistant.
        body: The update, valid in version 2.
        file_ids: All files that it is to have. ``None``: those that it has.

    Returns:
        The body with the resources of its tools.

    Raises:
        ApiError: 404: there is no such assistant or file. 400: the files are not the engine's.
    """
    assistant = await engine.assistants.retrieve(owner, assistant_id)
    if "tool_resources" in body or (file_ids is None and "tools" not in body):
        return body
    ids = await _files_of(engine, owner, assistant) if file_ids is None else tuple(dict.fromkeys(file_ids))
    tools = body["tools"] if "tools" in body else _wire.dump(assistant)["tools"]
    resources: dict[str, Any] = {}
    if is_for_code(tools):
        resources["code_interpreter"] = {"file_ids": list(ids[:MAX_ASSISTANT_FILES])}
    store_id = await _store_with(engine, owner, assistant, ids, is_wanted=is_for_search(tools))
    if store_id is not None:
        resources["file_search"] = {"vector_store_ids": [store_id]}
    return {**body, "tool_resources": resources}


async def _store_with(
    engine: Engine, owner: str, assistant: Assistant, ids: Sequence[str], *, is_wanted: bool
) -> str | None:
    """The assistant's vector store, with exactly these files; a new one if it has none and one is wanted."""
    store_id = _store_of(assistant)
    present = await _in_store(engine, owner, store_id)
    if store_id is None or present is None:
        if ids and is_wanted and engine.endpoint_objects is not None:
            text = (
                "The files of this server are at the model's endpoint, where version 1 of the API cannot change those "
                "that an assistant searches. Please set the header 'OpenAI-Beta: assistants=v2', and 'tool_resources'."
            )
            raise ApiError(400, text, param="file_ids", code="unsupported_value")
        return (await engine.vector_stores.create(owner, {"file_ids": ids})).id if ids and is_wanted else store_id
    for id in ids:
        if id not in present:
            await engine.vector_store_files.create(owner, store_id, {"file_id": id})
    for id in present:
        if id not in ids:
            await engine.vector_store_files.delete(owner, store_id, id)
    return store_id
