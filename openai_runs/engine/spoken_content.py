"""What a model is given and what it answers, as OpenTelemetry's conventions write it, for who wants it in spans.

Left out are images, and what tools of the endpoint's own, such as file search, have found: of these only the kind is
written down.
"""

from collections.abc import Iterator
from typing import Any, Final

from attrs import define, field

from openai_runs import _wire
from openai_runs.backends.model_backend import (
    BackendEvent,
    FinishReason,
    HostedToolCall,
    ModelRequest,
    RefusalChunk,
    TextChunk,
    ToolCallChunk,
)
from openai_runs.models.message import Content, Message, RefusalContent, TextContent
from openai_runs.models.run_step import FunctionStepCall, RunStep

_Json = dict[str, Any]

_REASONS: Final[dict[FinishReason, str]] = {
    "tool_calls": "tool_call",
    "max_tokens": "length",
    "max_prompt_tokens": "length",
}


def given(request: ModelRequest) -> dict[str, str | None]:
    """The attributes that have what a model is given."""
    instructions = [_text(request.instructions)] if request.instructions else None
    return {
        "gen_ai.system_instructions": None if instructions is None else _written(instructions),
        "gen_ai.input.messages": _written([message for item in request.items for message in _messages(item)]),
    }


@define
class _Part:
    """One part of an answer, whose text comes in pieces."""

    known: _Json
    text_key: str | None = "content"  #: where the text goes; ``None`` if there is none
    pieces: list[str] = field(factory=list, init=False)

    def whole(self) -> _Json:
        return self.known if self.text_key is None else {**self.known, self.text_key: "".join(self.pieces)}


@define
class Answer:
    """Collects what a model answers."""

    _parts: list[_Part] = field(factory=list, init=False)
    _calls: dict[int, _Part] = field(factory=dict, init=False)

    def add(self, event: BackendEvent) -> None:
        """Add a piece of the answer. One of the wrong type is left out: it fails the run."""
        match event:
            case TextChunk(str(text)):
                self._append("text", text)
            case RefusalChunk(str(text)):
                self._append("refusal", text)
            case ToolCallChunk(int(index), id, name, str(arguments)):
                if index not in self._calls:
                    self._calls[index] = _Part({"type": "tool_call", "id": id, "name": name or ""}, "arguments")
                    self._parts.append(self._calls[index])
                self._calls[index].pieces.append(arguments)
            case HostedToolCall(call):
                self._parts.append(_Part({"type": call.type, "id": call.id}, None))
            case _:
                pass

    def _append(self, type: str, text: str) -> None:
        if not self._parts or self._parts[-1].known["type"] != type:
            self._parts.append(_Part({"type": type}))
        self._parts[-1].pieces.append(text)

    def said(self, reason: FinishReason | None) -> dict[str, str | None]:
        """The attribute that has the answer; the reason is ``None`` if there is no end of it."""
        why = "error" if reason is None else "tool_call" if self._calls else _REASONS.get(reason, reason)
        message = {"role": "assistant", "parts": [part.whole() for part in self._parts], "finish_reason": why}
        return {"gen_ai.output.messages": _written([message])}


def _messages(item: Message | RunStep) -> Iterator[_Json]:
    if isinstance(item, Message):
        yield {"role": str(item.role), "parts": [_part(part) for part in item.content]}
        return
    yield {"role": "assistant", "parts": [_call(call) for call in item.tool_calls]}
    for call in item.function_calls:
        if call.function.output is not None:
            response = {"type": "tool_call_response", "id": call.id, "response": call.function.output}
            yield {"role": "tool", "parts": [response]}


def _part(part: Content) -> _Json:
    match part:
        case TextContent():
            return _text(part.text.value)
        case RefusalContent():
            return {"type": "refusal", "content": part.refusal}
    return {"type": part.type}


def _call(call: Any) -> _Json:
    if not isinstance(call, FunctionStepCall):
        return {"type": call.type}
    function = call.function
    return {"type": "tool_call", "id": call.id, "name": function.name, "arguments": function.arguments}


def _text(text: str) -> _Json:
    return {"type": "text", "content": text}


def _written(value: list[_Json]) -> str:
    return _wire.encode_plain(value).decode()
