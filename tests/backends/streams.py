"""Streams of both APIs, complete and without the fields that some servers leave out."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any, TypeAlias

Event: TypeAlias = tuple[str, bytes]  #: its name and its data
Call: TypeAlias = tuple[str, str]  #: a function and its arguments

DONE: Event = ("message", b"[DONE]")


def event(fields: Mapping[str, Any], name: str = "message") -> Event:
    return name, json.dumps(fields).encode()


def wire(events: Iterable[Event]) -> list[bytes]:
    """The events as bytes of a stream, one item per event."""
    return [
        (b"" if name == "message" else b"event: %b\n" % name.encode()) + b"data: %b\n\n" % data for name, data in events
    ]


# --- Chat Completions


def chunk(delta: Mapping[str, Any], reason: str | None = None, **more: Any) -> Event:
    choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
    return event(
        {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]} | more
    )


def chat_usage(prompt: int = 10, completion: int = 5) -> Event:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return event({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "choices": [], "usage": usage})


def call_part(index: int, arguments: str, **more: Any) -> Mapping[str, Any]:
    function = {"arguments": arguments} | ({"name": more.pop("name")} if "name" in more else {})
    return {"tool_calls": [{"index": index, "function": function} | more]}


def chat_answer(text: str = "", calls: Sequence[Call] = (), reason: str | None = None) -> list[Event]:
    """As OpenAI streams it."""
    events = [chunk({"role": "assistant", "content": None if calls and not text else "", "refusal": None})]
    events += [chunk({"content": word}) for word in pieces(text)]
    for index, (name, arguments) in enumerate(calls):
        events.append(chunk(call_part(index, "", name=name, id=f"call_{name}_{next(_number)}", type="function")))
        events += [chunk(call_part(index, piece)) for piece in pieces(arguments)]
    events.append(chunk({}, reason or ("tool_calls" if calls else "stop")))
    return [*events, chat_usage(), DONE]


# --- Responses


def response(status: str, output: Sequence[Any] = (), **more: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "model": "m",
        "output": list(output),
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "metadata": {},
        "usage": None,
    } | more


def usage(prompt: int = 10, completion: int = 5) -> dict[str, Any]:
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + completion,
    }


def message_item(*parts: Mapping[str, Any], id: str = "msg_1") -> dict[str, Any]:
    return {"type": "message", "id": id, "status": "completed", "role": "assistant", "content": list(parts)}


def output_text(text: str, *annotations: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": []}


def call_item(name: str, arguments: str, *, id: str = "fc_1", call_id: str = "call_1") -> dict[str, Any]:
    said = {"type": "function_call", "id": id, "call_id": call_id, "name": name, "arguments": arguments}
    return {**said, "status": "completed"}


def responses_answer(text: str = "", calls: Sequence[Call] = ()) -> list[Event]:
    """As OpenAI streams it."""
    items = [message_item(output_text(text))] if text else []
    for name, arguments in calls:
        number = next(_number)
        items.append(call_item(name, arguments, id=f"fc_{number}", call_id=f"call_{name}_{number}"))
    return responses_stream(items)


def responses_stream(items: Sequence[Mapping[str, Any]], **more: Any) -> list[Event]:
    """A complete stream of these items."""
    told: list[dict[str, Any]] = [
        {"type": "response.created", "response": response("in_progress")},
        {"type": "response.in_progress", "response": response("in_progress")},
    ]
    for index, item in enumerate(items):
        told += _item_events(index, item)
    told.append({"type": "response.completed", "response": response("completed", items, usage=usage()) | more})
    return [event({**fields, "sequence_number": number}, fields["type"]) for number, fields in enumerate(told)]


def _item_events(index: int, item: Mapping[str, Any]) -> list[dict[str, Any]]:
    at: dict[str, Any] = {"output_index": index}
    of: dict[str, Any] = {**at, "item_id": item["id"]}
    begun: dict[str, Any] = {**item, "status": "in_progress"}
    told: list[dict[str, Any]] = []
    if item["type"] == "message":
        begun["content"] = []
        for number, part in enumerate(item["content"]):
            of["content_index"] = number
            kind = "refusal" if part["type"] == "refusal" else "output_text"
            words = part["refusal" if kind == "refusal" else "text"]
            told.append({"type": "response.content_part.added", **of, "part": part})
            told += [{"type": f"response.{kind}.delta", **of, "delta": word, "logprobs": []} for word in pieces(words)]
            told += [
                {"type": "response.output_text.annotation.added", **of, "annotation_index": i, "annotation": note}
                for i, note in enumerate(part.get("annotations", ()))
            ]
            told.append({"type": f"response.{kind}.done", **of, "text": words, "logprobs": []})
            told.append({"type": "response.content_part.done", **of, "part": part})
    elif item["type"] == "function_call":
        begun["arguments"] = ""
        kind = "response.function_call_arguments"
        told += [{"type": f"{kind}.delta", **of, "delta": piece} for piece in pieces(item["arguments"])]
        told.append({"type": f"{kind}.done", **of, "name": item["name"], "arguments": item["arguments"]})
    return [
        {"type": "response.output_item.added", **at, "item": begun},
        *told,
        {"type": "response.output_item.done", **at, "item": item},
    ]


# --- What servers leave out


def without(events: Iterable[Event], *names: str) -> list[Event]:
    """The events without these fields, at any depth."""
    return [
        (name, data if data == DONE[1] else json.dumps(_bare(json.loads(data), names)).encode())
        for name, data in events
    ]


def _bare(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_bare(each, names) for each in value]
    if isinstance(value, dict):
        return {name: _bare(each, names) for name, each in value.items() if name not in names}
    return value


def pieces(text: str) -> list[str]:
    """A text in small, non-empty pieces."""
    return [text[start : start + 4] for start in range(0, len(text), 4)]


_number = count(1)
