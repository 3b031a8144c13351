"""Reads the event stream of a Chat Completions answer. No I/O.

Source: ``CreateChatCompletionStreamResponse`` of the API document; and what servers make of it: no index, no ID, no
usage, the whole answer at once. What is left out is borne; what contradicts itself, or ends without an end, is not.
"""

from collections.abc import Mapping
from typing import Any, Final

from attrs import define, field

from openai_runs import _wire
from openai_runs.backends.model_backend import (
    BackendEvent,
    Finished,
    FinishReason,
    RefusalChunk,
    TextChunk,
    UsageReport,
)
from openai_runs.backends.stream_reading import (
    CallParts,
    CutError,
    StreamError,
    array,
    mapping,
    parsed,
    reported_error,
    text,
    tokens,
)

_REASONS: Final[Mapping[str, FinishReason]] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "end_turn": "stop",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "model_length": "max_tokens",
    "content_filter": "content_filter",
}


@define
class ChatStream:
    """One answer: events in, the engine's events out."""

    _limit: int | None = None  #: the tokens that the answer may have
    _reason: FinishReason | None = field(default=None, init=False)
    _usage: UsageReport | None = field(default=None, init=False)
    _calls: list[CallParts] = field(factory=list, init=False)
    _at: dict[int, CallParts] = field(factory=dict, init=False)  # by the index that the server gives
    is_done: bool = field(default=False, init=False)  #: whether the stream has said that nothing more comes

    @property
    def is_whole(self) -> bool:
        """Whether the model has ended."""
        return self._reason is not None

    def feed(self, event: bytes, data: bytes) -> list[BackendEvent]:
        """Take one event of the stream.

        Args:
            event: Its name; the API gives none, which reads ``message``.
            data: Its data.

        Raises:
            StreamError: It cannot be read, or reports an error.
        """
        if data.startswith(b"[DONE]"):
            self.is_done = True
            return []
        return self.take(parsed(data), is_error=event == b"error")

    def take(self, chunk: Mapping[str, Any], *, is_error: bool = False) -> list[BackendEvent]:
        """Take a chunk, or a whole answer from a server that does not stream.

        Raises:
            StreamError: It reports an error, or makes no sense.
        """
        if (error := chunk.get("error")) or is_error or chunk.get("object") == "error":
            raise reported_error(error or chunk)
        self._usage = tokens(chunk.get("usage"), "prompt_tokens", "completion_tokens") or self._usage
        choices = array(chunk.get("choices"), "choices")
        if not choices:  # the last chunk has the usage alone; some have nothing at all
            return []
        choice = mapping(choices[0], "a choice")
        events = self._said(mapping(choice.get("delta") or choice.get("message"), "a delta"))
        if reason := text(choice.get("finish_reason"), "a reason"):
            if reason not in _REASONS:
                raise StreamError(f"the model ended for a reason that this backend does not know: {reason!r:.100}")
            self._reason = _REASONS[reason]
        return events

    def end(self) -> list[BackendEvent]:
        """Take it that the stream has ended.

        Raises:
            StreamError: The answer has not.
        """
        reason = self._reason
        if reason is None:
            if not self.is_done:
                raise CutError("the endpoint's answer was cut off before its end")
            # The end is said, the reason left out; where the limit was reached, that was it.
            full = self._limit is not None and self._usage is not None and self._usage.completion_tokens >= self._limit
            reason = "max_tokens" if full else "stop"
        if reason == "tool_calls" and not self._calls:
            raise StreamError("the model ended for tool calls, and none came")
        events: list[BackendEvent] = []
        if reason in ("stop", "tool_calls"):  # otherwise a call may well be cut off, and none is made
            events += [event for call in self._calls for event in call.end()]
        if self._usage is not None:
            events.append(self._usage)
        return [*events, Finished(reason)]

    def _said(self, delta: Mapping[str, Any]) -> list[BackendEvent]:
        events: list[BackendEvent] = []
        if words := _words(delta.get("content")):
            events.append(TextChunk(words))
        if refusal := text(delta.get("refusal"), "a refusal"):
            events.append(RefusalChunk(refusal))
        for part in array(delta.get("tool_calls"), "tool calls"):
            events += self._called(mapping(part, "a tool call"))
        return events

    def _called(self, part: Mapping[str, Any]) -> list[BackendEvent]:
        function = mapping(part.get("function"), "a function")
        id, name = text(part.get("id"), "an ID"), text(function.get("name"), "a name")
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # as text in the API; as an object from servers that have parsed it
            arguments = _wire.encode(arguments).decode()
        call = self._call_for(part.get("index"), id, name)
        return call.add(id, name, text(arguments, "arguments"))

    def _call_for(self, index: Any, id: str, name: str) -> CallParts:
        """Find the call that a part belongs to, by index where there is one."""
        if isinstance(index, int):
            call = self._at.get(index)
            is_new = call is None or bool(id and call.id and id != call.id)  # some servers give each call the index 0
        else:
            call = next((call for call in self._calls if id and call.id == id), None)
            is_new = call is None and bool(id or name)
            if call is None and self._calls:
                call = self._calls[-1]
        if call is None or is_new:
            call = CallParts(len(self._calls))
            self._calls.append(call)
        if isinstance(index, int):
            self._at[index] = call
        return call


def _words(content: Any) -> str:
    """The text of a delta; some servers send it in parts, among thoughts that are nobody's business."""
    if isinstance(content, list):
        parts = [mapping(part, "content") for part in content]
        return "".join(text(part.get("text"), "content") for part in parts if part.get("type") == "text")
    return text(content, "content")
