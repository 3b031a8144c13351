"""Reads the event stream of a response of the Responses API, or the response as a whole. No I/O.

Source: ``ResponseStreamEvent`` of the API document. Servers leave out indexes, sequence numbers, IDs, and events that
repeat others. So an item is found by whatever identifies it, else it is the latest one. The final form of an item is
compared with what its events have reported, and the rest is reported then; a whole response is read the same way.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from attrs import define, field

from openai_runs import _wire
from openai_runs.backends.conversation import citation_marker, without_none
from openai_runs.backends.hosted_tools import (
    code_interpreter_call,
    file_citation,
    file_search_call,
    generated_file,
)
from openai_runs.backends.model_backend import (
    AnnotationAdded,
    BackendEvent,
    Detached,
    Finished,
    FinishReason,
    HostedToolCall,
    RefusalChunk,
    Replay,
    TextChunk,
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
from openai_runs.errors import ProtocolError

Json: TypeAlias = Mapping[str, Any]

_INCOMPLETE_REASONS: Final[Mapping[str, FinishReason]] = {
    "max_output_tokens": "max_tokens",
    "content_filter": "content_filter",
}


@define
class _Item:
    """One item of the output, and how much of it has been reported."""

    id: str = ""
    type: str = ""  # as in the API; empty until an event shows it
    text: str = ""  # a message's text and refusals so far, as the endpoint sent them
    part_start: int = 0  # where the current part begins in it
    annotations: int = 0  # how many have come
    early: list[Json] = field(factory=list)  # annotations of text that has not come yet
    call: CallParts | None = None  # of a function call
    is_done: bool = False


@define
class ResponsesStream:
    """Reads one response: the stream's events in, backend events out."""

    _limit: int | None = None  #: the most tokens that the response may have
    _source: str = field(default="", alias="source")  #: the endpoint and the model, for `Replay`
    #: Whether to insert citation markers into the text, which would break JSON.
    _marks_citations: bool = field(default=True, alias="marks_citations")
    _detaches: bool = field(default=False, alias="detaches")  #: whether the endpoint goes on without a connection
    response_id: str | None = field(default=None, init=False)
    last_sequence_number: int | None = field(default=None, init=False)  #: where to resume the stream
    is_done: bool = field(default=False, init=False)  #: whether the whole response has been reported
    _items: list[_Item] = field(factory=list, init=False)
    _items_by_index: dict[int, _Item] = field(factory=dict, init=False)  # by output index
    _calls: list[CallParts] = field(factory=list, init=False)
    _text_part: list[str] = field(factory=list, init=False)  # the current text part, with our citation markers
    _citations: int = field(default=0, init=False)
    _is_refusing: bool = field(default=False, init=False)
    _kept: list[Json] | None = field(factory=list, init=False)  # for `Replay`; ``None`` if a part of it is missing
    _resumed_after: int | None = field(default=None, init=False)

    @property
    def is_complete(self) -> bool:
        """Whether the model's output is complete, which only the last event shows."""
        return self.is_done

    def feed(self, event: bytes, data: bytes) -> list[BackendEvent]:
        """Read one event of the stream.

        Args:
            event: Its name; without one, as from some servers, it is ``message``.
            data: Its data.

        Raises:
            StreamError: The event is invalid, or reports an error.
        """
        if self.is_done or data.startswith(b"[DONE]"):  # servers that also speak Chat Completions end like this
            return []
        fields = parse_event(data)
        if isinstance(number := fields.get("sequence_number"), int):
            if self._resumed_after is not None and number <= self._resumed_after:
                return []  # reported already
            self.last_sequence_number = number
        kind = text(fields.get("type"), "a type") or event.decode(errors="replace")
        if kind == "error" or fields.get("error"):
            raise reported_error(fields.get("error") or fields)
        if (handle := _HANDLERS.get(kind)) is not None:
            return handle(self, fields)
        status = kind.removeprefix("response.")
        return self.feed_response(mapping(fields.get("response"), "a response"), status) if status in _STATUSES else []

    def end(self) -> list[BackendEvent]:
        """Read the end of the stream.

        Raises:
            CutError: The response is incomplete.
        """
        if not self.is_done:
            raise CutError("the endpoint's response was cut off before its end")
        return []

    def resume(self) -> None:
        """Expect the stream to go on in another connection, which may repeat events."""
        self._resumed_after = self.last_sequence_number

    def feed_response(self, response: Json, status: str = "") -> list[BackendEvent]:
        """Read the response object in its current state; if it has ended, report the rest of it.

        Args:
            response: The object.
            status: Its status, which wins over the object's own.

        Raises:
            StreamError: The response has failed, or the object is invalid.
        """
        known_id, self.response_id = self.response_id, text(response.get("id"), "an ID") or self.response_id
        status = status or text(response.get("status"), "a status")
        if error := response.get("error"):
            raise reported_error(error)
        if status in ("created", "queued", "in_progress"):
            return [Detached(self.response_id)] if self._detaches and self.response_id and not known_id else []
        if status not in ("completed", "incomplete"):
            raise StreamError(f"the endpoint sent a response with status {status!r:.100}", retryable=status == "failed")
        events: list[BackendEvent] = []
        count: Counter[Any] = Counter()  # of items, by type
        for output in array(response.get("output"), "output"):
            type = text(mapping(output, "an item").get("type"), "a type")
            events += self._on_item_done({"item": output}, count[type])
            count[type] += 1
        return [*events, *self._finish(response, status)]

    def _finish(self, response: Json, status: str) -> list[BackendEvent]:
        usage = usage_report(response.get("usage"), "input_tokens", "output_tokens")
        reason: FinishReason = "tool_calls" if self._calls else "stop"
        if status == "incomplete":
            why = text(mapping(response.get("incomplete_details"), "details").get("reason"), "a reason")
            if why not in _INCOMPLETE_REASONS:
                raise StreamError(f"the endpoint sent an incomplete response with an unknown reason: {why!r:.100}")
            reason = _INCOMPLETE_REASONS[why]
        elif usage and self._limit is not None and usage.completion_tokens >= self._limit:
            reason = "max_tokens"  # llama.cpp reports a truncated response as completed
        events: list[BackendEvent] = []
        if reason in ("stop", "tool_calls"):  # for other reasons, calls may be cut off, so none is made
            events += [event for call in self._calls for event in call.end()]
            events += self._replay() if self._calls else []
        if usage is not None:
            events.append(usage)
        self.is_done = True
        return [*events, Finished(reason)]

    def _on_part_added(self, fields: Json) -> list[BackendEvent]:
        item = self._find_item(fields, "message")
        item.part_start = len(item.text)
        return []

    def _on_item_added(self, fields: Json) -> list[BackendEvent]:
        return self._begin_call(self._find_item(fields, "", is_new=True), mapping(fields.get("item"), "an item"))

    def _begin_call(self, item: _Item, shown: Json) -> list[BackendEvent]:
        if shown.get("type") != "function_call":
            return []
        # Arguments in the item are ignored here: they are those of its end, which `_finish_call` compares.
        return self._call_for(item).add(text(shown.get("call_id"), "an ID"), text(shown.get("name"), "a name"))

    def _on_arguments_delta(self, fields: Json) -> list[BackendEvent]:
        return self._call_for(self._find_item(fields, "function_call")).add(
            arguments=text(fields.get("delta"), "a delta")
        )

    def _call_for(self, item: _Item) -> CallParts:
        if item.call is None:
            item.call = CallParts(len(self._calls))
            self._calls.append(item.call)
        return item.call

    def _on_text_delta(self, fields: Json) -> list[BackendEvent]:
        return self._report_text(
            self._find_item(fields, "message"), text(fields.get("delta"), "a delta"), is_refusal=False
        )

    def _on_refusal_delta(self, fields: Json) -> list[BackendEvent]:
        return self._report_text(
            self._find_item(fields, "message"), text(fields.get("delta"), "a delta"), is_refusal=True
        )

    def _report_text(self, item: _Item, words: str, *, is_refusal: bool) -> list[BackendEvent]:
        if not words:
            return []
        events: list[BackendEvent] = []
        for note in sorted(item.early, key=_place_of):
            place = int(item.part_start + _place_of(note)) - len(item.text)
            if place > len(words):
                break
            item.early.remove(note)
            events += self._report_words(item, words[:place], is_refusal=is_refusal)
            events += self._report_annotation(note)
            words = words[place:]
        return [*events, *self._report_words(item, words, is_refusal=is_refusal)]

    def _report_words(self, item: _Item, words: str, *, is_refusal: bool) -> list[BackendEvent]:
        if not words:
            return []
        if is_refusal != self._is_refusing:
            self._text_part.clear()  # a new part of the message
            self._is_refusing = is_refusal
        is_new, item.text = not item.text, item.text + words
        if is_new and self._text_part:
            words = f"\n\n{words}"  # consecutive message items are one message here
        self._text_part.append(words)
        return [RefusalChunk(words) if is_refusal else TextChunk(words)]

    def _on_annotation(self, fields: Json) -> list[BackendEvent]:
        item = self._find_item(fields, "message")
        item.annotations += 1
        note = mapping(fields.get("annotation"), "an annotation")
        if item.part_start + _place_of(note) > len(item.text) and _place_of(note) < math.inf:
            item.early.append(note)  # its text has not come yet
            return []
        return self._report_annotation(note)

    def _report_annotation(self, note: Json) -> list[BackendEvent]:
        """Report an annotation; those of tools that assistants do not have are skipped."""
        written = "".join(self._text_part)
        match note.get("type"):
            case "file_citation":
                # Programs search the message for a citation's text and replace it; this API only has its position.
                name = text(note.get("filename"), "a file name") or text(note.get("file_id"), "an ID")
                marker = citation_marker(self._citations, name)
                self._citations += 1
                if not self._marks_citations:
                    return [AnnotationAdded(file_citation(note, marker, len(written), len(written)))]
                self._text_part.append(marker)
                place = len(written), len(written) + len(marker)
                return [TextChunk(marker), AnnotationAdded(file_citation(note, marker, *place))]
            case "container_file_citation" | "file_path":
                return [AnnotationAdded(generated_file(note, written))]
            case _:
                return []

    def _on_item_done(self, fields: Json, position: int | None = None) -> list[BackendEvent]:
        item, shown = self._find_item(fields, "", position), mapping(fields.get("item"), "an item")
        if item.is_done:
            return []
        item.is_done = True
        match shown.get("type"):
            case "message":
                self._keep(without_none(type="message", id=shown.get("id"), phase=shown.get("phase")))
                return self._finish_message(item, shown)
            case "function_call":
                self._keep(without_none(type="function_call", id=shown.get("id"), call_id=shown.get("call_id")))
                return self._finish_call(item, shown)
            case "file_search_call":
                self._text_part.clear()  # text after it belongs to a new message
                return [*self._replay(), HostedToolCall(file_search_call(shown))]
            case "code_interpreter_call":
                self._text_part.clear()
                return [*self._replay(), HostedToolCall(code_interpreter_call(shown))]
            case "reasoning":
                self._keep_thought(shown)
                return []
            case _:  # calls of tools that assistants do not have
                return []

    def _keep(self, item: Json) -> None:
        if self._kept is not None:
            self._kept.append(item)

    def _keep_thought(self, shown: Json) -> None:
        # Only its content, or an endpoint that stores it, makes a thought of use later; IDs of other items refer to it.
        if not (shown.get("encrypted_content") or shown.get("content") or self._detaches):
            self._kept = None
            return
        thought = {name: value for name, value in shown.items() if name != "status" and value not in (None, [])}
        self._keep({"summary": [], **thought})

    def _replay(self) -> list[BackendEvent]:
        """What the endpoint wants back with the calls that come now, and begin anew."""
        kept, self._kept = self._kept, []
        return [Replay(self._source, tuple(kept))] if kept else []

    def _finish_message(self, item: _Item, shown: Json) -> list[BackendEvent]:
        """Report what a final message has beyond its events; where they differ, the events stand: some servers trim."""
        events: list[BackendEvent] = []
        reported, annotation_count = item.text, item.annotations
        for content in array(shown.get("content"), "content"):
            part = mapping(content, "content")
            is_refusal = part.get("type") == "refusal"
            words = text(part.get("refusal" if is_refusal else "text"), "content")
            if not words.startswith(reported[: len(words)]):
                break
            at, reported = min(len(reported), len(words)), reported[len(words) :]
            annotations = [mapping(note, "an annotation") for note in array(part.get("annotations"), "annotations")]
            for note in sorted(annotations[annotation_count:], key=_place_of):
                place = min(_place_of(note), len(words))
                if at < place:
                    events += self._report_text(item, words[at : int(place)], is_refusal=is_refusal)
                    at = int(place)
                events += self._report_annotation(note)
            annotation_count = max(annotation_count - len(annotations), 0)
            events += self._report_text(item, words[at:], is_refusal=is_refusal)
        for note in item.early:  # their places are beyond the text
            events += self._report_annotation(note)
        item.early.clear()
        return events

    def _finish_call(self, item: _Item, shown: Json) -> list[BackendEvent]:
        events, call = self._begin_call(item, shown), self._call_for(item)
        arguments = text(shown.get("arguments"), "arguments")
        if arguments.startswith(call.arguments):
            return [*events, *call.add(arguments=arguments[len(call.arguments) :])]
        if arguments and not _is_same_json(arguments, call.arguments):
            raise StreamError(f"the endpoint sent two different texts as the arguments of {call.name}", retryable=False)
        return events

    def _find_item(self, fields: Json, type: str, position: int | None = None, *, is_new: bool = False) -> _Item:
        """Find the item of an event: by index, ID, or position among its like, else the latest unfinished one.

        Args:
            fields: The event.
            type: The item's type, unless the event shows the item.
            position: In a whole response: how many items of its type come before it. Some servers leave items out
                there, or tell some only there.
            is_new: Whether the event begins an item.
        """
        index, shown = fields.get("output_index"), mapping(fields.get("item"), "an item")
        type = text(shown.get("type"), "a type") or type
        id = text(fields.get("item_id") or shown.get("id"), "an ID")
        item = self._items_by_index.get(index) if isinstance(index, int) else None
        if item is None and id:
            item = next((each for each in self._items if each.id == id), None)
        alike = [each for each in self._items if each.type in ("", type)]
        if item is None and position is not None:
            item = alike[position] if position < len(alike) else None
        elif item is None and not is_new and not isinstance(index, int):
            item = next((each for each in reversed(alike) if not each.is_done), None)
        if item is None:
            item = _Item(id)
            self._items.append(item)
        item.type = item.type or type
        if isinstance(index, int):
            self._items_by_index.setdefault(index, item)
        return item


def _place_of(note: Json) -> float:
    """Where a citation belongs in its text; other annotations are about text that is complete."""
    place = note.get("index") if note.get("type") == "file_citation" else None
    return place if isinstance(place, int) else math.inf


def _is_same_json(one: str, other: str) -> bool:
    """Whether two JSON texts have the same value."""
    try:
        return bool(_wire.decode(one) == _wire.decode(other))
    except ProtocolError:  # at least one is not JSON
        return False


#: The statuses of a response; each is also the name of an event.
_STATUSES: Final = frozenset({"created", "queued", "in_progress", "completed", "incomplete", "failed", "cancelled"})

_HANDLERS: Final[Mapping[str, Callable[[ResponsesStream, Json], list[BackendEvent]]]] = {
    "response.output_item.added": ResponsesStream._on_item_added,  # noqa: SLF001  # same module
    "response.content_part.added": ResponsesStream._on_part_added,  # noqa: SLF001  # same module
    "response.output_text.delta": ResponsesStream._on_text_delta,  # noqa: SLF001  # same module
    "response.refusal.delta": ResponsesStream._on_refusal_delta,  # noqa: SLF001  # same module
    "response.function_call_arguments.delta": ResponsesStream._on_arguments_delta,  # noqa: SLF001  # same module
    "response.output_text.annotation.added": ResponsesStream._on_annotation,  # noqa: SLF001  # same module
    "response.output_item.done": ResponsesStream._on_item_done,  # noqa: SLF001  # same module
}
