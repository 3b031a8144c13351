"""Makes objects of version 1 of those of version 2, as JSON. No I/O.

Objects that were imported may lack any field.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

Json: TypeAlias = dict[str, Any]

#: The files of assistants, by the IDs of these.
FileIds: TypeAlias = Mapping[str, Sequence[str]]


def assistants_in(shown: Json) -> set[str]:
    """The IDs of the assistants whose files are to be shown in an object or in a list of them."""
    items = shown["data"] if shown.get("object") == "list" else [shown]
    found = {item["id"] if item.get("object") == "assistant" else _assistant_of(item) for item in items}
    return found - {""}


def _assistant_of(item: Json) -> str:
    return str(item["assistant_id"]) if item.get("object") == "thread.run" else ""


def downgraded(shown: Json, files: FileIds) -> Json:
    """Downgrade an object, or a list of objects; those that version 1 did not have stay as they are."""
    if shown.get("object") == "list":
        return {**shown, "data": [downgraded(item, files) for item in shown["data"]]}
    downgrade = _DOWNGRADES.get(shown.get("object", ""))
    return shown if downgrade is None else downgrade(shown, files)


def _assistant(shown: Json, files: FileIds) -> Json:
    return {**_without(shown, "tool_resources"), "tools": _tools(shown), "file_ids": list(files[shown["id"]])}


def _thread(shown: Json, _: FileIds) -> Json:
    return _without(shown, "tool_resources")


def _message(shown: Json, _: FileIds) -> Json:
    attachments = shown.get("attachments") or ()
    file_ids = dict.fromkeys(attachment["file_id"] for attachment in attachments if attachment.get("file_id"))
    content = [_content(part) for part in shown.get("content") or ()]
    return {**_without(shown, "attachments"), "content": content, "file_ids": list(file_ids)}


def _content(part: Json) -> Json:
    text = part.get("text")
    if not isinstance(text, dict):
        return part
    return {**part, "text": {**text, "annotations": [_annotation(note) for note in text.get("annotations") or ()]}}


def _annotation(note: Json) -> Json:
    """The quote was required; it was often empty."""
    cited = note.get("file_citation")
    if not isinstance(cited, dict):
        return note
    return {**note, "file_citation": {**cited, "quote": cited.get("quote") or ""}}


def _run(shown: Json, files: FileIds) -> Json:
    run = {**_without(shown, "tool_resources"), "tools": _tools(shown), "file_ids": list(files[shown["assistant_id"]])}
    choice = run.get("tool_choice")
    return {**run, "tool_choice": _tool(choice)} if isinstance(choice, dict) else run


def _step(shown: Json, _: FileIds) -> Json:
    return _with_calls(shown)


def _step_delta(shown: Json, _: FileIds) -> Json:
    return {**shown, "delta": _with_calls(shown["delta"])}


def _with_calls(shown: Json) -> Json:
    details = shown.get("step_details") or {}
    if not details.get("tool_calls"):
        return shown
    return {**shown, "step_details": {**details, "tool_calls": [_call(call) for call in details["tool_calls"]]}}


def _call(call: Json) -> Json:
    """Of a search, version 1 showed only that there was one."""
    if call.get("type") != "file_search":
        return call
    return {**_without(call, "file_search"), "type": "retrieval", "retrieval": {}}


def _tools(shown: Json) -> list[Json]:
    return [_tool(tool) for tool in shown.get("tools") or ()]


def _tool(tool: Json) -> Json:
    return {"type": "retrieval"} if tool.get("type") == "file_search" else tool


def _without(shown: Json, name: str) -> Json:
    return {key: value for key, value in shown.items() if key != name}


_DOWNGRADES: Final[Mapping[str, Callable[[Json, FileIds], Json]]] = {
    "assistant": _assistant,
    "thread": _thread,
    "thread.message": _message,
    "thread.run": _run,
    "thread.run.step": _step,
    "thread.run.step.delta": _step_delta,
}
