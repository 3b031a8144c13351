"""Reads the event stream of a Chat Completions response. No I/O.

Source: ``CreateChatCompletionStreamResponse`` of the API document, and how servers deviate from it: no index, no ID, no
usage, everything in one chunk. What is missing is tolerated; contradictions and a missing end are errors.
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
    parse_event,
    reported_error,
    text,
    usage_report,
)

_FINISH_REASONS: Final[Mapping[str, FinishReason]] = {
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
    """Reads one response: the stream's events in, backend events out."""

    _limit: int | None = None  #: the most tokens that the response may have
    _reason: FinishReason | None = field(default=None, init=False)
    _usage: UsageReport | None = field(default=None, init=False)
    _calls: list[CallParts] = field(factory=list, init=False)
    _calls_by_index: dict[int, CallParts] = field(factory=dict, init=False)  # by the server's index
    is_done: bool = field(default=False, init=False)  #: whether the stream has sent ``[DONE]``

    @property
    def is_complete(self) -> bool:
        """Whether the finish reason has come."""
        return self._reason is not None

    def feed(self, event: bytes, data: bytes) -> list[BackendEvent]:
        """Read one event of the stream.

        Args:
            event: Its name; without one, as in this API, it is ``message``.
            data: Its data.

        Raises:
            StreamError: The event is invalid, or reports an error.
        """
        if data.startswith(b"[DONE]"):
            self.is_done = True
            return []
        return self.feed_response(parse_event(data), is_error=event == b"error")

    def feed_response(self, chunk: Mapping[str, Any], *, is_error: bool = False) -> list[BackendEvent]:
        """Read a chunk, or the whole response of a server that does not stream.

        Raises:
            StreamError: It is invalid, or reports an error.
        """
        if (error := chunk.get("error")) or is_error or chunk.get("object") == "error":
            raise reported_error(error or chunk)
        self._usage = usage_report(chunk.get("usage"), "prompt_tokens", "completion_tokens") or self._usage
        choices = array(chunk.get("choices"), "choices")
        if not choices:  # the last chunk only has the usage; some have nothing at all
            return []
        choice = mapping(choices[0], "a choice")
        events = self._read_delta(mapping(choice.get("delta") or choice.get("message"), "a delta"))
        if reason := text(choice.get("finish_reason"), "a reason"):
            if reason not in _FINISH_REASONS:
                raise StreamError(f"the endpoint sent an unknown finish_reason: {reason!r:.100}")
            self._reason = _FINISH_REASONS[reason]
        return events

    def end(self) -> list[BackendEvent]:
        """Read the end of the stream.

        Raises:
            StreamError: The response is incomplete.
        """
        reason = self._reason
        if reason is None:
            if not self.is_done:
                raise CutError("the endpoint's response was cut off before its end")
            # [DONE] came without a finish reason; if the limit is reached, that is the reason.
            full = self._limit is not None and self._usage is not None and self._usage.completion_tokens >= self._limit
            reason = "max_tokens" if full else "stop"
        if reason == "tool_calls" and not self._calls:
            raise StreamError("the endpoint sent finish_reason 'tool_calls' without a tool call")
        events: list[BackendEvent] = []
        if reason in ("stop", "tool_calls"):  # for other reasons, calls may be cut off, so none is made
            events += [event for call in self._calls for event in call.end()]
        if self._usage is not None:
            events.append(self._usage)
        return [*events, Finished(reason)]

    def _read_delta(self, delta: Mapping[str, Any]) -> list[BackendEvent]:
        events: list[BackendEvent] = []
        if content := _text_of(delta.get("content")):
            events.append(TextChunk(content))
        if refusal := text(delta.get("refusal"), "a refusal"):
            events.append(RefusalChunk(refusal))
        for part in array(delta.get("tool_calls"), "tool calls"):
            events += self._read_tool_call(mapping(part, "a tool call"))
        return events

    def _read_tool_call(self, part: Mapping[str, Any]) -> list[BackendEvent]:
        function = mapping(part.get("function"), "a function")
        id, name = text(part.get("id"), "an ID"), text(function.get("name"), "a name")
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # text in the API; some servers send it parse_event
            arguments = _wire.encode(arguments).decode()
        call = self._find_call(part.get("index"), id, name)
        return call.add(id, name, text(arguments, "arguments"))

    def _find_call(self, index: Any, id: str, name: str) -> CallParts:
        """Find the call that a part belongs to: by index, else by ID, else the latest; or begin a new one."""
        if isinstance(index, int):
            call = self._calls_by_index.get(index)
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
            self._calls_by_index[index] = call
        return call


def _text_of(content: Any) -> str:
    """The text of a delta's content; some servers send it as parts, among reasoning that is not part of the message."""
    if isinstance(content, list):
        parts = [mapping(part, "content") for part in content]
        return "".join(text(part.get("text"), "content") for part in parts if part.get("type") == "text")
    return text(content, "content")
