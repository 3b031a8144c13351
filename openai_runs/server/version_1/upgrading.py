"""Makes request bodies of version 2 of those of version 1. No I/O."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeAlias

from jsonschema_rs import Draft202012Validator, ValidationError

from openai_runs.server import validation_errors

Json: TypeAlias = Any

#: Files of an assistant and of a message; the limits of version 1.
MAX_ASSISTANT_FILES: Final = 20
_MAX_MESSAGE_FILES: Final = 10

_ATTACHED_FOR: Final = ({"type": "file_search"}, {"type": "code_interpreter"})


def _object(**properties: Json) -> Json:
    return {"properties": properties}


def _file_ids(most: int) -> Json:
    return _object(file_ids={"type": ["array", "null"], "items": {"type": "string"}, "maxItems": most})


_ASSISTANT: Final = _file_ids(MAX_ASSISTANT_FILES)
_MESSAGE: Final = _file_ids(_MAX_MESSAGE_FILES)
_MESSAGES: Final = _object(messages={"items": _MESSAGE})
#: Where a body has file IDs, by the name of its schema. All else in it is checked as a body of version 2.
_SCHEMAS: Final[Mapping[str, Json]] = {
    "CreateAssistantRequest": _ASSISTANT,
    "ModifyAssistantRequest": _ASSISTANT,
    "CreateMessageRequest": _MESSAGE,
    "CreateThreadRequest": _MESSAGES,
    "CreateThreadAndRunRequest": _object(thread=_MESSAGES),
    "CreateRunRequest": _object(additional_messages={"items": _MESSAGE}),
}


def upgraded(body: Json, schema: str) -> Json:
    """Upgrade a request body, which is any JSON value: what version 1 did not have is left as it is.

    The ``file_ids`` of an update of an assistant are left out; see `openai_runs.server.version_1.assistant_files`.

    Args:
        body: The body.
        schema: The name of its schema in the document, such as ``CreateRunRequest``.

    Raises:
        ApiError: 400: file IDs are no file IDs, or too many.
    """
    if schema not in _SCHEMAS:
        return body
    try:
        _validator(schema).validate(body)
    except ValidationError as error:
        raise validation_errors.from_schema_errors([error], _SCHEMAS[schema]) from None
    if not isinstance(body, dict):
        return body
    body = _changed(body, "tools", _tools)
    body = _changed(body, "tool_choice", _tool)
    match schema:
        case "CreateAssistantRequest":
            return _replaced(body, "tool_resources", lambda ids: new_resources(ids, body.get("tools")))
        case "ModifyAssistantRequest":
            return body if "tool_resources" in body else _without_file_ids(body)
        case "CreateMessageRequest":
            return _message(body)
        case "CreateThreadAndRunRequest":
            return _changed(body, "thread", lambda thread: _changed(thread, "messages", _messages))
        case "CreateRunRequest":
            return _changed(body, "additional_messages", _messages)
        case _:
            return _changed(body, "messages", _messages)


@cache
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(_SCHEMAS[schema])


def new_resources(file_ids: Sequence[str], tools: Json) -> Json:
    """What ``file_ids`` of a new assistant are in version 2."""
    resources: dict[str, Json] = {}
    if is_for_code(tools):
        resources["code_interpreter"] = {"file_ids": file_ids}
    if is_for_search(tools):
        resources["file_search"] = {"vector_stores": [{"file_ids": file_ids}]}
    return resources


def is_for_code(tools: Json) -> bool:
    """Whether the code interpreter has the files of an assistant with these tools."""
    return "code_interpreter" in _types(tools)


def is_for_search(tools: Json) -> bool:
    """Whether they can be searched: also if no tool reads files so far."""
    types = _types(tools)
    return "file_search" in types or "code_interpreter" not in types


def _types(tools: Json) -> Iterable[Json]:
    return [tool.get("type") for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else ()


def _tools(tools: Json) -> Json:
    return [_tool(tool) for tool in tools] if isinstance(tools, list) else tools


def _tool(tool: Json) -> Json:
    if isinstance(tool, dict) and tool.get("type") == "retrieval":
        return {**tool, "type": "file_search"}
    return tool


def _messages(messages: Json) -> Json:
    return [_message(message) for message in messages] if isinstance(messages, list) else messages


def _message(message: Json) -> Json:
    return _replaced(message, "attachments", lambda ids: [{"file_id": id, "tools": [*_ATTACHED_FOR]} for id in ids])


def _replaced(body: Json, new: str, make: Callable[[Sequence[str]], Json]) -> Json:
    """Replace ``file_ids`` by a parameter of version 2; if both are given, ``file_ids`` is refused by its name."""
    if not isinstance(body, dict) or "file_ids" not in body or new in body:
        return body
    ids, others = body["file_ids"], _without_file_ids(body)
    return {**others, new: make(ids)} if ids else others


def _without_file_ids(body: Json) -> Json:
    return {name: value for name, value in body.items() if name != "file_ids"}


def _changed(body: Json, name: str, change: Callable[[Json], Json]) -> Json:
    return {**body, name: change(body[name])} if isinstance(body, dict) and name in body else body
