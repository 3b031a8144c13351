"""Reads the event stream of a Chat Completions response. No I/O.

Source: ``CreateChatCompletionStreamResponse`` of the API document, and how servers deviate from it: no index, no ID, no
usage, everything in one chunk. What is missing is tolerated; contradictions and a missing end are errors.
"""

import logging
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from attrs import define, field

from openai_runs import _wire
from openai_runs.backends.model_backend import (
    BackendEvent,
    Finished,
    FinishReason,
    RefusalChunk,
    Replay,
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

_logger = logging.getLogger("openai_runs.backends")

_FINISH_REASONS: Final[Mapping[str, FinishReason]] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "complete": "stop",
    "completed": "stop",
    "end_of_turn": "stop",
    "end_turn": "stop",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "model_length": "max_tokens",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "sensitive": "content_filter",
    "recitation": "content_filter",
}
#: Reasons of an answer that is not whole.
_BROKEN_OFF: Final = frozenset(
    {"abort", "aborted", "cancelled", "canceled", "error", "insufficient_system_resource", "network_error"}
)
#: Where endpoints tell the model's thoughts: DeepSeek, Kimi, Qwen and older vLLM; OpenRouter, Groq and newer vLLM.
_THOUGHT_TEXTS: Final = ("reasoning_content", "reasoning")
#: Where OpenRouter tells them in parts, with signatures.
_DETAILS: Final = "reasoning_details"
#: Where Gemini has the signatures of its thoughts: in calls, and in messages.
_SIGNATURE: Final = "extra_content"
_THOUGHT_NAMES: Final = frozenset({*_THOUGHT_TEXTS, _DETAILS, _SIGNATURE})


class _TextDelta(msgspec.Struct):
    content: Annotated[str, msgspec.Meta(min_length=1)]
    refusal: None = None
    tool_calls: None = None
    reasoning_content: None = None
    reasoning: None = None
    reasoning_details: None = None
    extra_content: None = None


class _TextChoice(msgspec.Struct):
    delta: _TextDelta
    finish_reason: None = None
    message: None = None


class _OnlyText(msgspec.Struct):
    """A chunk with a piece of the text and nothing else that `ChatStream` reads, as nearly all of them are."""

    choices: tuple[_TextChoice]
    object: Literal["chat.completion.chunk"]
    usage: None = None
    error: None = None


_decode_only_text: Final = msgspec.json.Decoder(_OnlyText).decode


@define
class ChatStream:
    """Reads one response: the stream's events in, backend events out."""

    _limit: int | None = None  #: the most tokens that the response may have
    _source: str = field(default="", alias="source")  #: the endpoint and the model, for `Replay`
    _reason: FinishReason | None = field(default=None, init=False)
    _usage: UsageReport | None = field(default=None, init=False)
    _calls: list[CallParts] = field(factory=list, init=False)
    _calls_by_index: dict[int, CallParts] = field(factory=dict, init=False)  # by the server's index
    _said: list[str] = field(factory=list, init=False)  # the pieces of the text so far
    _thoughts: dict[str, Any] = field(factory=dict, init=False)  # by the endpoint's names
    _signatures: dict[int, Mapping[str, Any]] = field(factory=dict, init=False)  # by the index of the call
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
        if event == b"message":
            try:
                content = _decode_only_text(data).choices[0].delta.content
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                pass  # another kind of chunk, or none
            else:
                self._said.append(content)
                return [TextChunk(content)]
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
        reason = text(choice.get("finish_reason"), "a reason")
        events = self._read_delta(mapping(choice.get("delta"), "a delta"), is_last=bool(reason))
        if message := mapping(choice.get("message"), "a message"):
            events += self._read_message(message)
        if reason:
            self._reason = self._finish_reason(reason.lower())
        return events

    def _finish_reason(self, reason: str) -> FinishReason:
        known = _FINISH_REASONS.get(reason)
        if known is None:
            if reason in _BROKEN_OFF or not (self._said or self._calls):
                raise StreamError(f"the endpoint sent an unknown finish_reason: {reason!r:.100}")
            _logger.warning("the endpoint sent an unknown finish_reason, taken for 'stop': %.100r", reason)
        return known or "stop"

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
            events += self._replay()
        if self._usage is not None:
            events.append(self._usage)
        return [*events, Finished(reason)]

    def _replay(self) -> list[BackendEvent]:
        if not self._calls or not (self._thoughts or self._signatures):
            return []
        calls = [self._signatures.get(call.index, {}) for call in self._calls]
        return [Replay(self._source, ({"message": self._thoughts, "calls": calls},))]

    def _read_message(self, message: Mapping[str, Any]) -> list[BackendEvent]:
        """Read the whole message: all of it if the endpoint does not stream, else what the stream has left out."""
        said, content = "".join(self._said), _text_of(message.get("content"))
        is_repeated = bool(said) and not content.startswith(said)  # in other words: what was streamed stands
        left_out = {**message, "content": "" if is_repeated else content[len(said) :]}
        if self._calls:
            left_out["tool_calls"] = None
        for name in _THOUGHT_NAMES if self._thoughts else ():
            left_out.pop(name, None)
        return self._read_delta(left_out)

    def _read_delta(self, delta: Mapping[str, Any], *, is_last: bool = False) -> list[BackendEvent]:
        events: list[BackendEvent] = []
        content = _text_of(delta.get("content"))
        # Some servers send the whole text again at the end. No model repeats several tokens as one.
        if content and not (is_last and len(self._said) > 1 and content == "".join(self._said)):
            self._said.append(content)
            events.append(TextChunk(content))
        if refusal := text(delta.get("refusal"), "a refusal"):
            events.append(RefusalChunk(refusal))
        if not _THOUGHT_NAMES.isdisjoint(delta):
            self._keep_thoughts(delta)
        for part in array(delta.get("tool_calls"), "tool calls"):
            events += self._read_tool_call(mapping(part, "a tool call"))
        return events

    def _keep_thoughts(self, delta: Mapping[str, Any]) -> None:
        """Keep what models want back with the outputs of their calls, under the names that the endpoint uses."""
        for name in _THOUGHT_TEXTS:
            if isinstance(words := delta.get(name), str) and words:
                self._thoughts[name] = self._thoughts.get(name, "") + words
        if isinstance(details := delta.get(_DETAILS), list):
            kept = self._thoughts.setdefault(_DETAILS, [])
            for detail in details:
                _add_detail(kept, mapping(detail, "a detail of the reasoning"))
        if isinstance(extra := delta.get(_SIGNATURE), dict):
            self._thoughts[_SIGNATURE] = {**self._thoughts.get(_SIGNATURE, {}), **extra}

    def _read_tool_call(self, part: Mapping[str, Any]) -> list[BackendEvent]:
        function = mapping(part.get("function"), "a function")
        id, name = text(part.get("id"), "an ID"), text(function.get("name"), "a name")
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # text in the API; some servers send it parsed
            arguments = _wire.encode(arguments).decode()
        call = self._find_call(part.get("index"), id, name)
        if isinstance(signature := part.get(_SIGNATURE), dict):
            self._signatures[call.index] = {_SIGNATURE: signature}
        return call.add(id, name, text(arguments, "arguments"))

    def _find_call(self, index: Any, id: str, name: str) -> CallParts:
        """Find the call that a part belongs to: by ID, else by index, else the latest; or begin a new one."""
        call = next((call for call in self._calls if id and call.id == id), None)
        if call is not None:
            return call
        if isinstance(index, int):
            call = self._calls_by_index.get(index)
            is_new = call is None or bool(id and call.id)  # some servers give each call the index 0
        else:
            is_new = bool(id or name)
            call = self._calls[-1] if self._calls else None
        if call is None or is_new:
            call = CallParts(len(self._calls))
            self._calls.append(call)
        if isinstance(index, int):
            self._calls_by_index[index] = call
        return call


def _add_detail(kept: list[dict[str, Any]], detail: Mapping[str, Any]) -> None:
    """Add a piece of OpenRouter's ``reasoning_details`` to the detail that it continues, or as a new one."""
    last = kept[-1] if kept else None
    if last is None or "index" not in detail or any(last.get(key) != detail.get(key) for key in ("index", "type")):
        kept.append(dict(detail))
        return
    for name, value in detail.items():
        is_piece = name in ("text", "summary", "data") and isinstance(value, str) and isinstance(last.get(name), str)
        if value is not None:
            last[name] = last[name] + value if is_piece else value


def _text_of(content: Any) -> str:
    """The text of a delta's content; some servers send it as parts, among reasoning that is not part of the message."""
    if isinstance(content, list):
        parts = [mapping(part, "content") for part in content]
        return "".join(text(part.get("text"), "content") for part in parts if part.get("type") == "text")
    return text(content, "content")
