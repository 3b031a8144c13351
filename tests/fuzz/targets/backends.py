"""Streams of a model's endpoint that may be hostile: what its readers tell, and what the engine makes of it."""

from collections.abc import AsyncGenerator, Callable, Iterator
from itertools import pairwise
from random import Random
from typing import Any, Final
from zlib import crc32

import anyio

from openai_runs import _wire
from openai_runs._http.sse import Decoder
from openai_runs.backends import search_prompt
from openai_runs.backends.chat_stream import ChatStream
from openai_runs.backends.citations import CitationScanner
from openai_runs.backends.live import backend_error
from openai_runs.backends.model_backend import (
    AnnotationAdded,
    BackendEvent,
    Finished,
    ModelBackend,
    ModelRequest,
    RefusalChunk,
    TextChunk,
    ToolCallChunk,
)
from openai_runs.backends.responses_stream import ResponsesStream
from openai_runs.backends.stream_reading import StreamError
from openai_runs.errors import ProtocolError
from openai_runs.models.message import Message, MessageStatus, RefusalContent
from openai_runs.models.run import RunStatus
from openai_runs.models.run_step import FileSearch, FileSearchCall, FileSearchResult
from tests._http.sse_by_the_book import cut
from tests.backends.requests import RUN, step
from tests.backends.streams import (
    chat_answer,
    chunk,
    message_item,
    output_text,
    responses_answer,
    responses_stream,
    wire,
    without,
)
from tests.engine.world import TIME, WEATHER, conform, world
from tests.fuzz.target import Target, chosen, first_line, with_head

_NewReader = Callable[[], Any]
_CALLS: Final = [("get_weather", '{"city": "Oslo"}'), ("get_time", "")]
_SETTLED: Final = {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.INCOMPLETE, RunStatus.REQUIRES_ACTION}


def _told(reader: Any, chunks: list[bytes]) -> tuple[list[BackendEvent], StreamError | None]:
    """The events that a reader tells of a stream until it ends or fails."""
    decoder, told = Decoder(), list[BackendEvent]()
    try:
        for piece in chunks:
            for name, data in decoder.feed(piece):
                told += reader.feed(name, data)
        for name, data in decoder.end():
            told += reader.feed(name, data)
        return told + reader.end(), None
    except StreamError as error:
        return told, error


def _check_events(events: list[BackendEvent], failure: StreamError | None) -> None:
    begun: set[int] = set()
    for event in events:
        match event:
            case TextChunk(text=text) | RefusalChunk(text=text):
                assert text
            case ToolCallChunk(index=index, name=name):
                assert bool(name) == (index not in begun), "a call begins with its name, and has it once"
                begun.add(index)
    ends = [number for number, event in enumerate(events) if isinstance(event, Finished)]
    assert ends == ([] if failure else [len(events) - 1]), "one end, after all else"
    assert failure is None or failure.message


class _Endpoint(ModelBackend):
    """Answers each call with the same bytes, as a live backend reads them."""

    def __init__(self, new_reader: _NewReader, data: bytes) -> None:
        self._new_reader = new_reader
        self._data = data

    async def respond(self, request: ModelRequest) -> AsyncGenerator[BackendEvent]:
        events, failure = _told(self._new_reader(), [self._data])
        for event in events:
            yield event
        if failure is not None:
            raise backend_error(failure, request, "http://model.example/v1") from failure


async def _live(backend: ModelBackend) -> None:
    """A run on such an endpoint comes to an end, and all that is stored of it is the API's and reads the same."""
    async with world(backend) as w:
        run = await w.start("How is the weather?", tools=[WEATHER, TIME])
        with anyio.fail_after(20):
            while run.status not in _SETTLED:
                await anyio.lowlevel.checkpoint()
                run = await w.get(run)
        assert (run.last_error is not None) == (run.status == RunStatus.FAILED)
        assert run.last_error is None or "Internal" not in run.last_error.message, run.last_error
        assert bool(run.pending_tool_calls) == (run.status == RunStatus.REQUIRES_ACTION)
        messages, steps = await w.messages(run), await w.steps(run)
        assert MessageStatus.IN_PROGRESS not in {message.status for message in messages}
        for stored in (run, *messages, *steps):
            assert _wire.load(_wire.encode(stored), type(stored)) == stored
            conform(stored)
        answers = [message for message in messages if message.run_id == run.id]
        assert "".join(map(_words, answers)) == "".join(w.said(run.id))
        if run.pending_tool_calls:
            await w.answer(run)


def _words(message: Message) -> str:
    return "".join(part.refusal if isinstance(part, RefusalContent) else part.text.value for part in message.content)


def _check(new_reader: _NewReader, data: bytes) -> None:
    try:
        events, failure = _told(new_reader(), [data])
    except ProtocolError:  # an event above the decoder's limit
        return
    _check_events(events, failure)
    random = Random(crc32(data))
    again, same_failure = _told(new_reader(), cut(data, [random.randrange(len(data) + 1) for _ in range(4)]))
    assert (again, str(same_failure)) == (events, str(failure))


def chat(data: bytes) -> None:
    """Any stream is an answer or a `StreamError` that says why, the same however it is cut.

    A call begins with its name and has it once; `Finished` comes once, and last.
    """
    _check(_READERS["chat"], data)


def responses(data: bytes) -> None:
    """As for `chat`, with the events of the Responses API."""
    _check(_READERS["responses"], data)


def runs(data: bytes) -> None:
    """Whatever an endpoint streams, a run on it comes to an end, or waits for its tools.

    It has failed, with a reason, or is completed or incomplete; no message is left in progress. All its objects and
    events are what the API's document says, and can be stored and loaded again; its text is that of its events.
    """
    head, stream = first_line(data)
    _, new_reader = chosen(head, _READERS)
    anyio.run(_live, _Endpoint(new_reader, stream))


def citing(data: bytes) -> None:
    """Whatever a model writes to search becomes a few queries that can be sent; what it writes to cite stays as it is.

    The annotations are of marks in the text, in their order, and the same however the text is cut.
    """
    head, rest = first_line(data)
    queries = search_prompt.queries_of(head.decode(errors="replace"))
    assert all(query.strip() for query in queries)
    found = FileSearchResult(file_id="file_1", file_name=head.decode(errors="replace"), score=0.5)
    call = FileSearchCall(id="c", file_search=FileSearch(results=(found,), extra={"queries": list(queries)}))
    [told] = search_prompt.told([step(call)], RUN, "file_search", 100)
    assert _wire.decode(_wire.encode(told))
    assert len(_scanned([search_prompt.mark_of(0, 0, found)])[1]) == 1
    text = rest.decode(errors="replace")
    written, notes = _scanned([text])
    assert written == text
    places = [(note.start_index, note.end_index) for note in notes]
    assert places == sorted(places)
    assert all(text[start:end] == note.text for note, (start, end) in zip(notes, places, strict=True))
    random = Random(crc32(data))
    cuts = sorted(random.randrange(len(text) + 1) for _ in range(4))
    pieces = [text[start:end] for start, end in pairwise([0, *cuts, len(text)])]
    assert _scanned(pieces) == (written, notes)


def _scanned(pieces: list[str]) -> tuple[str, list[Any]]:
    sources = {(0, n): FileSearchResult(file_id=f"file_{n}", file_name="a", score=0.5) for n in range(10)}
    scanner = CitationScanner(sources)
    events = [event for piece in pieces for event in scanner.feed(piece)] + scanner.end_part()
    text = "".join(event.text for event in events if isinstance(event, TextChunk))
    return text, [event.annotation for event in events if isinstance(event, AnnotationAdded)]


_READERS: Final[dict[str, _NewReader]] = {
    "chat": lambda: ChatStream(100, source="chat"),
    "responses": lambda: ResponsesStream(100, source="responses"),
}


def _chat_seeds() -> Iterator[bytes]:
    answers = [
        chat_answer("It is sunny."),
        chat_answer("Let me see.", _CALLS),
        chat_answer(calls=_CALLS[:1]),
        chat_answer("cut", reason="length"),
        without(chat_answer("a", _CALLS), "index", "id", "type"),
        without(chat_answer("bare"), "usage", "logprobs", "created", "object"),
        [chunk({"refusal": "I can not."}), chunk({}, "stop")],
        [chunk({"content": [{"type": "text", "text": "parts"}], "reasoning_content": "hm"}), chunk({}, "stop")],
        [chunk({"reasoning_details": [{"index": 0, "type": "a", "text": "b"}]}), *chat_answer("", _CALLS)],
        [chunk({}, "stop", choices=[{"message": {"content": "whole", "tool_calls": []}, "finish_reason": "stop"}])],
        [chunk({}, error={"message": "context length exceeded", "code": 400})],
        [chunk({}, error={"message": "no", "code": [None], "type": {}})],
    ]
    yield from (b"".join(wire(answer)) for answer in answers)


def _responses_seeds() -> Iterator[bytes]:
    note = {"type": "file_citation", "index": 3, "file_id": "file_1", "filename": "a.txt"}
    made = {"type": "container_file_citation", "file_id": "file_2", "filename": "b.png", "container_id": "c"}
    search = {"type": "file_search_call", "id": "fs_1", "queries": ["q"], "status": "completed"}
    search["results"] = [{"file_id": "file_1", "filename": "a.txt", "score": 0.5, "text": "found"}]
    code = {"type": "code_interpreter_call", "id": "ci_1", "code": "1", "container_id": "c"}
    code["outputs"] = [{"type": "logs", "logs": "1"}, {"type": "image", "url": "https://example.org/i"}]
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}
    refusal = {"type": "refusal", "refusal": "I can not."}
    answers = [
        responses_answer("It is sunny."),
        responses_answer("Let me see.", _CALLS),
        responses_stream([message_item(output_text("cited", note), output_text("made", made))]),
        responses_stream([search, code, message_item(output_text("found"))]),
        responses_stream([thought, message_item(refusal), message_item(output_text("b"), id="msg_2")]),
        without(responses_answer("a", _CALLS), "output_index", "item_id", "sequence_number"),
        responses_stream([], status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        responses_stream([], error={"message": "no", "code": "server_error"}),
        responses_answer("whole", _CALLS)[-1:],
    ]
    yield from (b"".join(wire(answer)) for answer in answers)


def _run_seeds() -> Iterator[bytes]:
    yield from (with_head("chat", stream) for stream in _chat_seeds())
    yield from (with_head("responses", stream) for stream in _responses_seeds())


def _citing_seeds() -> Iterator[bytes]:
    for arguments in '{"queries": ["tea", "cups"]}', '{"query": "tea"}', '["a", 1]', "tea", '{"queries": ["\\ud800"]}':
        yield with_head(arguments, "Hot 【0:0†tea.md】 and 【0:1】, not 【3:0†x】 or 【0:2†tea")


TARGETS = (
    Target("chat", chat, _chat_seeds),
    Target("responses", responses, _responses_seeds),
    Target("runs", runs, _run_seeds),
    Target("citing", citing, _citing_seeds),
)
