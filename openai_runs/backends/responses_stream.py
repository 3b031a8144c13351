"""Reads the event stream of a Responses answer, or the answer as a whole. No I/O.

Source: ``ResponseStreamEvent`` of the API document. Servers leave out indexes, sequence numbers, IDs, and the events
that say a thing a second time. So an item is found by whatever names it, else it is the latest; and what an item says
at its end is held against what has been told of it: the rest is told then, which reads a whole answer just as well.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from attrs import define, field

from openai_runs import _wire
from openai_runs.backends.conversation import citation_marker
from openai_runs.backends.hosted_tools import (
    code_interpreter_call,
    file_citation,
    file_search_call,
    made_file,
)
from openai_runs.backends.model_backend import (
    AnnotationAdded,
    BackendEvent,
    Detached,
    Finished,
    FinishReason,
    HostedToolCall,
    RefusalChunk,
    TextChunk,
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
from openai_runs.errors import ProtocolError

Json: TypeAlias = Mapping[str, Any]

_INCOMPLETE: Final[Mapping[str, FinishReason]] = {
    "max_output_tokens": "max_tokens",
    "content_filter": "content_filter",
}


@define
class _Item:
    """One item of the output, as far as it has been told."""

    id: str = ""
    said: str = ""  # of a message: text and refusals, as the endpoint wrote them
    notes: int = 0  # annotations told
    call: CallParts | None = None  # of a function
    is_settled: bool = False


@define
class ResponsesStream:
    """One answer: events in, the engine's events out."""

    _limit: int | None = None  #: the tokens that the answer may have
    _marks_citations: bool = field(
        default=True, alias="marks_citations"
    )  #: whether citations may be written into the text, which would spoil JSON
    _detaches: bool = field(default=False, alias="detaches")  #: whether the endpoint goes on without us
    response_id: str | None = field(default=None, init=False)
    last: int | None = field(default=None, init=False)  #: the number of the latest event, to resume after it
    is_done: bool = field(default=False, init=False)  #: whether all of the answer has been told
    _items: list[_Item] = field(factory=list, init=False)
    _at: dict[int, _Item] = field(factory=dict, init=False)  # by output index
    _calls: list[CallParts] = field(factory=list, init=False)
    _written: list[str] = field(factory=list, init=False)  # the text part being written, with our citation marks
    _citations: int = field(default=0, init=False)
    _is_refusing: bool = field(default=False, init=False)
    _resumed_after: int | None = field(default=None, init=False)

    @property
    def is_whole(self) -> bool:
        """Whether the model has ended, which the last event says."""
        return self.is_done

    def feed(self, event: bytes, data: bytes) -> list[BackendEvent]:
        """Take one event of the stream.

        Args:
            event: Its name; some servers give none, which reads ``message``.
            data: Its data.

        Raises:
            StreamError: It cannot be read, or reports that there will be no answer.
        """
        if self.is_done or data.startswith(b"[DONE]"):  # servers that also speak Chat Completions end like this
            return []
        fields = parsed(data)
        if isinstance(number := fields.get("sequence_number"), int):
            if self._resumed_after is not None and number <= self._resumed_after:
                return []  # told already
            self.last = number
        kind = text(fields.get("type"), "a type") or event.decode(errors="replace")
        if kind == "error" or fields.get("error"):
            raise reported_error(fields.get("error") or fields)
        if (read := _READERS.get(kind)) is not None:
            return read(self, fields)
        status = kind.removeprefix("response.")
        return self.take(mapping(fields.get("response"), "a response"), status) if status in _STATUSES else []

    def end(self) -> list[BackendEvent]:
        """Take it that the stream has ended.

        Raises:
            CutError: The answer has not.
        """
        if not self.is_done:
            raise CutError("the endpoint's answer was cut off before its end")
        return []

    def resume(self) -> None:
        """Take it that the stream goes on, from another connection."""
        self._resumed_after = self.last

    def take(self, response: Json, status: str = "") -> list[BackendEvent]:
        """Take the answer as it stands: whole, if it has ended.

        Args:
            response: The answer.
            status: What it is, if the answer itself does not count.

        Raises:
            StreamError: There is none, and will be none.
        """
        known, self.response_id = self.response_id, text(response.get("id"), "an ID") or self.response_id
        status = status or text(response.get("status"), "a status")
        if error := response.get("error"):
            raise reported_error(error)
        if status in ("created", "queued", "in_progress"):
            return [Detached(self.response_id)] if self._detaches and self.response_id and not known else []
        if status not in ("completed", "incomplete"):
            raise StreamError(f"the endpoint ended the response as {status!r:.100}", repeatable=status == "failed")
        events = [
            event
            for index, item in enumerate(array(response.get("output"), "output"))
            for event in self._item_done({"item": item}, index)
        ]
        return [*events, *self._end(response, status)]

    def _end(self, response: Json, status: str) -> list[BackendEvent]:
        usage = tokens(response.get("usage"), "input_tokens", "output_tokens")
        reason: FinishReason = "tool_calls" if self._calls else "stop"
        if status == "incomplete":
            why = text(mapping(response.get("incomplete_details"), "details").get("reason"), "a reason")
            if why not in _INCOMPLETE:
                raise StreamError(
                    f"the response is incomplete for a reason that this backend does not know: {why!r:.100}"
                )
            reason = _INCOMPLETE[why]
        elif usage and self._limit is not None and usage.completion_tokens >= self._limit:
            reason = "max_tokens"  # llama.cpp does not tell an answer that was cut off from one that is complete
        events: list[BackendEvent] = []
        if reason in ("stop", "tool_calls"):  # otherwise a call may well be cut off, and none is made
            events += [event for call in self._calls for event in call.end()]
        if usage is not None:
            events.append(usage)
        self.is_done = True
        return [*events, Finished(reason)]

    def _item_added(self, fields: Json) -> list[BackendEvent]:
        return self._begun(self._item_of(fields, is_new=True), mapping(fields.get("item"), "an item"))

    def _begun(self, item: _Item, shown: Json) -> list[BackendEvent]:
        if shown.get("type") != "function_call":
            return []
        # Its arguments, if they are here, are those of its end.
        return self._call_of(item).add(text(shown.get("call_id"), "an ID"), text(shown.get("name"), "a name"))

    def _arguments(self, fields: Json) -> list[BackendEvent]:
        return self._call_of(self._item_of(fields)).add(arguments=text(fields.get("delta"), "a delta"))

    def _call_of(self, item: _Item) -> CallParts:
        if item.call is None:
            item.call = CallParts(len(self._calls))
            self._calls.append(item.call)
        return item.call

    def _text(self, fields: Json) -> list[BackendEvent]:
        return self._say(self._item_of(fields), text(fields.get("delta"), "a delta"), is_refusal=False)

    def _refusal(self, fields: Json) -> list[BackendEvent]:
        return self._say(self._item_of(fields), text(fields.get("delta"), "a delta"), is_refusal=True)

    def _say(self, item: _Item, words: str, *, is_refusal: bool) -> list[BackendEvent]:
        if not words:
            return []
        if is_refusal != self._is_refusing:
            self._written.clear()  # another part of the message
            self._is_refusing = is_refusal
        is_new, item.said = not item.said, item.said + words
        if is_new and self._written:
            words = f"\n\n{words}"  # two messages in a row are one here
        self._written.append(words)
        return [RefusalChunk(words) if is_refusal else TextChunk(words)]

    def _annotation(self, fields: Json) -> list[BackendEvent]:
        item = self._item_of(fields)
        item.notes += 1
        return self._note(mapping(fields.get("annotation"), "an annotation"))

    def _note(self, note: Json) -> list[BackendEvent]:
        """Tell of an annotation; those of tools that no assistant has are left out."""
        written = "".join(self._written)
        match note.get("type"):
            case "file_citation":
                # Programs look in the answer for a citation's text and replace it. This API has a place, and no text.
                name = text(note.get("filename"), "a file name") or text(note.get("file_id"), "an ID")
                mark = citation_marker(self._citations, name)
                self._citations += 1
                if not self._marks_citations:
                    return [AnnotationAdded(file_citation(note, mark, len(written), len(written)))]
                self._written.append(mark)
                place = len(written), len(written) + len(mark)
                return [TextChunk(mark), AnnotationAdded(file_citation(note, mark, *place))]
            case "container_file_citation" | "file_path":
                return [AnnotationAdded(made_file(note, written))]
            case _:
                return []

    def _item_done(self, fields: Json, position: int | None = None) -> list[BackendEvent]:
        item, shown = self._item_of(fields, position), mapping(fields.get("item"), "an item")
        if item.is_settled:
            return []
        item.is_settled = True
        match shown.get("type"):
            case "message":
                return self._message_done(item, shown)
            case "function_call":
                return self._call_done(item, shown)
            case "file_search_call":
                self._written.clear()  # text after it is another message
                return [HostedToolCall(file_search_call(shown))]
            case "code_interpreter_call":
                self._written.clear()
                return [HostedToolCall(code_interpreter_call(shown))]
            case _:  # reasoning, and the calls of tools that no assistant has
                return []

    def _message_done(self, item: _Item, shown: Json) -> list[BackendEvent]:
        """Tell what a message says beyond what has been told; that counts where the two differ: some servers trim."""
        events: list[BackendEvent] = []
        told, notes = item.said, item.notes
        for content in array(shown.get("content"), "content"):
            part = mapping(content, "content")
            is_refusal = part.get("type") == "refusal"
            words = text(part.get("refusal" if is_refusal else "text"), "content")
            if not words.startswith(told[: len(words)]):
                break
            at, told = min(len(told), len(words)), told[len(words) :]
            annotations = [mapping(note, "an annotation") for note in array(part.get("annotations"), "annotations")]
            for note in annotations[notes:]:
                # A citation is marked where it belongs, any other note is about words that are there.
                place = note.get("index") if note.get("type") == "file_citation" else len(words)
                if isinstance(place, int) and at < place <= len(words):
                    events += self._say(item, words[at:place], is_refusal=is_refusal)
                    at = place
                events += self._note(note)
            notes = max(notes - len(annotations), 0)
            events += self._say(item, words[at:], is_refusal=is_refusal)
        return events

    def _call_done(self, item: _Item, shown: Json) -> list[BackendEvent]:
        events, call = self._begun(item, shown), self._call_of(item)
        arguments = text(shown.get("arguments"), "arguments")
        if arguments.startswith(call.arguments):
            return [*events, *call.add(arguments=arguments[len(call.arguments) :])]
        if arguments and not _is_same(arguments, call.arguments):
            raise StreamError(f"the endpoint contradicts itself on the arguments of {call.name}", repeatable=False)
        return events

    def _item_of(self, fields: Json, position: int | None = None, *, is_new: bool = False) -> _Item:
        """Find the item that an event is about: by index, ID, position in the whole, else the latest that goes on."""
        index, shown = fields.get("output_index"), mapping(fields.get("item"), "an item")
        id = text(fields.get("item_id") or shown.get("id"), "an ID")
        item = self._at.get(index) if isinstance(index, int) else None
        if item is None and id:
            item = next((each for each in self._items if each.id == id), None)
        if item is None and position is not None:
            item = self._items[position] if position < len(self._items) else None
        elif item is None and not is_new and not isinstance(index, int):
            item = next((each for each in reversed(self._items) if not each.is_settled), None)
        if item is None:
            item = _Item(id)
            self._items.append(item)
        if isinstance(index, int):
            self._at.setdefault(index, item)
        return item


def _is_same(one: str, other: str) -> bool:
    """Whether two JSON texts say the same."""
    try:
        return bool(_wire.decode(one) == _wire.decode(other))
    except ProtocolError:  # at least one says nothing
        return False


#: What a response's status may be, and the events named after it.
_STATUSES: Final = frozenset({"created", "queued", "in_progress", "completed", "incomplete", "failed", "cancelled"})

_READERS: Final[Mapping[str, Callable[[ResponsesStream, Json], list[BackendEvent]]]] = {
    "response.output_item.added": ResponsesStream._item_added,  # noqa: SLF001
    "response.output_text.delta": ResponsesStream._text,  # noqa: SLF001
    "response.refusal.delta": ResponsesStream._refusal,  # noqa: SLF001
    "response.function_call_arguments.delta": ResponsesStream._arguments,  # noqa: SLF001
    "response.output_text.annotation.added": ResponsesStream._annotation,  # noqa: SLF001
    "response.output_item.done": ResponsesStream._item_done,  # noqa: SLF001
}
