"""`ResponsesStream`: reads the event stream of a response, and the response as a whole."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs.backends.responses_stream import ResponsesStream
from openai_runs.backends.stream_reading import StreamError
from openai_runs.models.message import FileCitation, FilePath
from openai_runs.models.run_step import CodeInterpreterCall, FileSearchCall, ImageOutput, LogsOutput
from tests.backends.reading import Answer, read, together
from tests.backends.streams import (
    DONE,
    Event,
    call_item,
    event,
    message_item,
    output_text,
    response,
    responses_answer,
    responses_stream,
    usage,
    without,
)

WEATHER = ("get_weather", '{"city": "Oslo"}')
TIME = ("get_time", '{"zone": "CET"}')
REASONING = {"type": "reasoning", "id": "rs_1", "summary": []}
SEARCH = {
    "type": "file_search_call",
    "id": "fs_1",
    "status": "completed",
    "queries": ["cats"],
    "results": [
        {"file_id": "file-1", "filename": "cats.pdf", "score": 0.9, "text": "Cats purr."},
        {"file_id": "file-2"},
    ],
}
CODE = {
    "type": "code_interpreter_call",
    "id": "ci_1",
    "status": "completed",
    "container_id": "cntr_1",
    "code": "print(1)",
    "outputs": [{"type": "logs", "logs": "1"}, {"type": "image", "url": "https://example.com/1.png"}],
}


def answer_of(events: Sequence[Event], **options: Any) -> Answer:
    machine = ResponsesStream(**options)
    told = read(machine, events)
    assert machine.is_done
    return together(told)


def whole_of(*items: Mapping[str, Any], **options: Any) -> Answer:
    """The answer, read from a response that was polled."""
    machine = ResponsesStream(**options)
    told = machine.feed_response(response("completed", items, usage=usage()))
    assert machine.is_done
    return together(told)


def test_an_answer() -> None:
    events = responses_answer("Hello there")
    assert answer_of(events) == Answer("Hello there", usage=(10, 5), reason="stop")
    machine = ResponsesStream()
    read(machine, events)
    assert (machine.response_id, machine.last_sequence_number) == ("resp_1", len(events) - 1)


def test_words_and_calls() -> None:
    answer = answer_of(responses_answer("Let me see.", [WEATHER, TIME]))
    assert (answer.text, answer.reason) == ("Let me see.", "tool_calls")
    assert answer.functions == [WEATHER, TIME]
    assert all(id and id.startswith("call_get_") for id, _, _ in answer.calls)


def test_a_refusal_after_words() -> None:
    item = message_item(output_text("Well."), {"type": "refusal", "refusal": "I cannot."})
    expected = Answer("Well.", "I cannot.", usage=(10, 5), reason="stop")
    assert answer_of(responses_stream([item])) == expected
    assert whole_of(item) == expected


@pytest.mark.parametrize(
    "names",
    [
        ("content_index", "output_index", "sequence_number"),  # llama.cpp
        ("output_index", "item_id"),
        ("output_index", "item_id", "id"),
        ("item_id", "id"),
        ("item_id",),
        ("status",),
        ("output",),
        ("logprobs", "annotations", "error", "incomplete_details", "metadata"),
        ("type",),  # the event's name says it
    ],
)
@pytest.mark.parametrize("calls", [[], [WEATHER], [WEATHER, TIME]])
def test_what_servers_leave_out(names: tuple[str, ...], calls: list[tuple[str, str]]) -> None:
    if names == ("type",):
        events = [(name, _without_its_type(data)) for name, data in responses_answer("Hello there", calls)]
    else:
        events = without(responses_answer("Hello there", calls), *names)
    answer = answer_of(events)
    assert (answer.text, answer.functions) == ("Hello there", calls)
    assert (answer.usage, answer.reason) == ((10, 5), "tool_calls" if calls else "stop")


def _without_its_type(data: bytes) -> bytes:
    fields = json.loads(data)
    del fields["type"]
    return json.dumps(fields).encode()


@pytest.mark.parametrize("left_out", ["added", "delta", "output_item.done"])
def test_what_is_said_twice_may_be_said_once(left_out: str) -> None:
    events = [each for each in responses_answer("Hello there", [WEATHER, TIME]) if not each[0].endswith(left_out)]
    answer = answer_of(events)
    assert (answer.text, answer.functions) == ("Hello there", [WEATHER, TIME])


def test_the_last_event_alone_will_do() -> None:
    answer = answer_of(responses_answer("Hello there", [WEATHER, TIME])[-1:])
    assert (answer.text, answer.functions) == ("Hello there", [WEATHER, TIME])


def test_ids_that_change_from_event_to_event() -> None:
    """IDs may change between events of one item: some gateways encrypt them anew each time."""
    events = without(responses_answer("Hello there", [WEATHER]), "output_index")
    renamed = [
        (name, data.replace(b'"item_id": "', b'"item_id": "%d' % number).replace(b'"id": "', b'"id": "%d' % number))
        for number, (name, data) in enumerate(events)
    ]
    answer = answer_of(renamed)
    assert (answer.text, answer.functions) == ("Hello there", [WEATHER])


def test_calls_without_ids_or_arguments() -> None:
    item = call_item("now", "")
    assert answer_of(without(responses_stream([item]), "call_id")).calls == ((None, "now", "{}"),)


def test_arguments_that_are_written_another_way_at_the_end() -> None:
    """Final arguments with the same JSON value as the streamed ones are accepted."""
    events = [
        (name, data.replace(b'{\\"city\\": \\"Oslo\\"}', b'{\\"city\\":\\"Oslo\\"}'))
        for name, data in responses_answer("", [WEATHER])
    ]
    assert answer_of(events).functions == [WEATHER]


@pytest.mark.parametrize("other", [b'{\\"city\\":\\"Rome\\"}', b"{\\n"])
def test_arguments_that_contradict_themselves_are_not_carried_out(other: bytes) -> None:
    events = [
        (name, data.replace(b'{\\"city\\": \\"Oslo\\"}', other)) for name, data in responses_answer("", [WEATHER])
    ]
    with pytest.raises(StreamError, match="two different texts"):
        answer_of(events)


def test_a_text_that_is_trimmed_at_the_end_counts_as_streamed() -> None:
    events = [(name, data.replace(b'"Hello "', b'"Hello"')) for name, data in responses_answer("Hello ")]
    events = [each for each in events if each[0] != "response.output_text.delta"]
    events.insert(4, event({"type": "response.output_text.delta", "output_index": 0, "delta": "Hello "}))
    assert answer_of(events).text == "Hello "


def test_a_text_that_differs_at_the_end_counts_as_streamed() -> None:
    events = [
        (name, data.replace(b'"text": "Hello there"', b'"text": "Bye"'))
        for name, data in responses_answer("Hello there")
    ]
    assert answer_of(events).text == "Hello there"


def test_messages_in_a_row_are_one_with_a_blank_line() -> None:
    items = [message_item(output_text("One."), id="msg_1"), message_item(output_text("Two."), id="msg_2")]
    assert answer_of(responses_stream(items)).text == "One.\n\nTwo."
    assert whole_of(*items).text == "One.\n\nTwo."


def test_thoughts_and_unknown_things_are_passed_over() -> None:
    unknown = event({"type": "response.reasoning_text.delta", "delta": "Hm."}, "response.reasoning_text.delta")
    events = responses_stream([REASONING, message_item(output_text("Hello"))])
    assert answer_of([unknown, *events, DONE]) == Answer("Hello", usage=(10, 5), reason="stop")


# --- The endpoint's own tools


@pytest.mark.parametrize("read_answer", [lambda *items: answer_of(responses_stream(items)), whole_of])
def test_uses_of_the_endpoints_tools(read_answer: Any) -> None:
    answer = read_answer(SEARCH, CODE, message_item(output_text("Purr.")))
    search, code = answer.hosted
    assert isinstance(search, FileSearchCall)
    assert [(found.file_name, found.score) for found in search.file_search.results or ()] == [
        ("cats.pdf", 0.9),
        ("", 0.0),
    ]
    assert search.file_search.extra == {"queries": ["cats"]}
    assert isinstance(code, CodeInterpreterCall)
    logs, image = code.code_interpreter.outputs
    assert isinstance(logs, LogsOutput)
    assert isinstance(image, ImageOutput)
    assert (code.code_interpreter.input, logs.logs) == ("print(1)", "1")
    assert image.image.extra == {"url": "https://example.com/1.png"}
    assert answer.text == "Purr."


def test_what_was_found_may_be_kept_back() -> None:
    answer = whole_of({**SEARCH, "results": None}, {**CODE, "outputs": None, "container_id": None, "code": None})
    search, code = answer.hosted
    assert search.file_search.results is None
    assert code.code_interpreter.outputs == ()
    assert code.code_interpreter.extra == {}


def cited(place: int, file_id: str = "file-1", **more: Any) -> dict[str, Any]:
    return {"type": "file_citation", "file_id": file_id, "index": place, "filename": "cats.pdf"} | more


@pytest.mark.parametrize("read_answer", [lambda *items: answer_of(responses_stream(items)), whole_of])
def test_citations_are_marked_in_the_text(read_answer: Any) -> None:
    """Citations get a marker in the text, which programs replace by a footnote; this API only has a position."""
    answer = read_answer(SEARCH, message_item(output_text("Cats purr.", cited(10), cited(10, "file-2", filename=""))))
    assert answer.text == "Cats purr.【0:0†cats.pdf】【1:0†file-2】"
    assert [note.file_citation.file_id for note in answer.annotations] == ["file-1", "file-2"]
    for note in answer.annotations:
        assert isinstance(note, FileCitation)
        assert answer.text[note.start_index : note.end_index] == note.text


def test_citations_of_an_answer_that_was_polled_are_where_they_belong() -> None:
    answer = whole_of(message_item(output_text("Cats purr. Dogs bark.", cited(10), cited(21), cited(5))))
    assert answer.text == "Cats 【0:0†cats.pdf】purr.【1:0†cats.pdf】 Dogs bark.【2:0†cats.pdf】"


def test_citations_that_come_before_their_text_wait_for_it() -> None:
    """Each mark is at its index in its part, wherever in the stream the annotation comes."""
    parts = [
        output_text("Well. "),
        output_text("Cats purr. Dogs bark.", cited(10), cited(21, "file-2"), cited(99, "file-3")),
    ]
    events = responses_stream([message_item(*parts)])
    notes = [each for each in events if each[0] == "response.output_text.annotation.added"]
    events = [each for each in events if each not in notes]
    second = [i for i, (name, _) in enumerate(events) if name == "response.content_part.added"][1]
    answer = answer_of(without([*events[: second + 1], *notes, *events[second + 1 :]], "sequence_number"))
    assert answer.text == "Well. Cats purr.【0:0†cats.pdf】 Dogs bark.【1:0†cats.pdf】【2:0†cats.pdf】"
    for note in answer.annotations:
        assert answer.text[note.start_index : note.end_index] == note.text


def test_the_end_repeats_no_text_wherever_its_items_are() -> None:
    """The response at the end may have items that the stream left out, or lack some that it had."""
    item = message_item(output_text("Hello there"))
    for streamed, last in ([[item], [REASONING, item]], [[REASONING, item], [item]]):
        events = without(
            [*responses_stream(streamed)[:-1], responses_stream(last)[-1]], "id", "item_id", "output_index"
        )
        assert answer_of(events).text == "Hello there"
        events = [each for each in events if each[0].endswith(("delta", "completed"))]
        assert answer_of(events).text == "Hello there"


def test_citations_that_the_stream_left_out() -> None:
    events = responses_stream([message_item(output_text("Cats purr.", cited(4), cited(10)))])
    second = [i for i, (name, _) in enumerate(events) if name == "response.output_text.annotation.added"][1]
    answer = answer_of([*events[:second], *events[second + 1 :]])
    assert answer.text == "Cats purr.【0:0†cats.pdf】【1:0†cats.pdf】"


def test_citations_begin_anew_with_each_message() -> None:
    notes = message_item(output_text("Purr.", cited(5)), id="msg_2")
    answer = answer_of(responses_stream([message_item(output_text("Let me search.")), SEARCH, notes]))
    assert answer.annotations[0].start_index == 5


def test_json_has_no_marks_in_it() -> None:
    item = message_item(output_text('{"a": 1}', cited(8)))
    answer = answer_of(responses_stream([item]), marks_citations=False)
    assert json.loads(answer.text) == {"a": 1}
    [note] = answer.annotations
    assert (note.start_index, note.end_index) == (8, 8)
    assert note.text not in answer.text  # so that replacing it replaces nothing


def test_files_that_code_has_made() -> None:
    made = {
        "type": "container_file_citation",
        "container_id": "cntr_1",
        "file_id": "cfile_1",
        "filename": "plot.png",
        "start_index": 3,
        "end_index": 4,
    }
    text = "See [plot](sandbox:/mnt/data/plot.png)."
    answer = whole_of(message_item(output_text(text, {**made}, {**made, "filename": "other.csv"})))
    found, missing = answer.annotations
    assert isinstance(found, FilePath)
    assert text[found.start_index : found.end_index] == found.text == "sandbox:/mnt/data/plot.png"
    assert (found.file_path.file_id, found.file_path.extra) == ("cfile_1", {"container_id": "cntr_1"})
    assert (missing.start_index, missing.end_index, missing.text) == (0, 0, "sandbox:/mnt/data/other.csv")


def test_notes_of_tools_that_no_assistant_has_are_left_out() -> None:
    note = {"type": "url_citation", "url": "https://example.com", "title": "", "start_index": 0, "end_index": 1}
    assert whole_of(message_item(output_text("Hello", note))).annotations == ()


# --- Ends


def ended(status: str, **more: Any) -> Event:
    kind = f"response.{status}"
    return event({"type": kind, "response": response(status, **more)}, kind)


@pytest.mark.parametrize(("why", "reason"), [("max_output_tokens", "max_tokens"), ("content_filter", "content_filter")])
def test_an_incomplete_answer(why: str, reason: str) -> None:
    item = message_item(output_text("Hel"))
    answer = answer_of([ended("incomplete", output=[item], incomplete_details={"reason": why}, usage=usage())])
    assert answer == Answer("Hel", usage=(10, 5), reason=reason)


def test_a_call_that_the_limit_cut_off_is_as_it_is() -> None:
    details = {"reason": "max_output_tokens"}
    answer = answer_of([ended("incomplete", output=[call_item("now", "")], incomplete_details=details)])
    assert answer == Answer(calls=(("call_1", "now", ""),), reason="max_tokens")


def test_an_answer_as_long_as_the_limit_is_incomplete_whatever_it_says() -> None:
    """A response of as many tokens as the limit counts as truncated: llama.cpp reports it as completed."""
    assert answer_of(responses_answer("Hello"), limit=5).reason == "max_tokens"
    assert answer_of(responses_answer("Hello"), limit=6).reason == "stop"
    assert answer_of(without(responses_answer("Hello"), "usage"), limit=5).reason == "stop"


def test_what_comes_after_the_end_does_not_count() -> None:
    assert answer_of([*responses_answer("Hello"), *responses_answer("Hello")]).text == "Hello"


@given(st.data())
def test_half_an_answer_is_never_taken_for_a_whole_one(data: st.DataObject) -> None:
    events = responses_answer("Hello there", [WEATHER])
    machine = ResponsesStream()
    told = read(machine, events[: data.draw(st.integers(0, len(events) - 1))])
    assert not machine.is_done
    assert together(told).reason is None


@given(st.data())
def test_a_stream_that_is_resumed_tells_nothing_twice(data: st.DataObject) -> None:
    """A resumed stream may start after the requested number, or earlier: repeated events are skipped."""
    events = responses_answer("Hello there", [WEATHER, TIME])
    cut = data.draw(st.integers(1, len(events)))
    again = data.draw(st.integers(0, cut))
    machine = ResponsesStream()
    told = read(machine, events[:cut])
    machine.resume()
    answer = together([*told, *read(machine, events[again:])])
    assert (answer.text, answer.functions) == ("Hello there", [WEATHER, TIME])


@given(st.data())
def test_an_answer_that_is_polled_after_a_cut_tells_nothing_twice(data: st.DataObject) -> None:
    items = [message_item(output_text("Hello there", cited(5))), call_item(*WEATHER)]
    events = responses_stream(items)
    machine = ResponsesStream()
    told = read(machine, events[: data.draw(st.integers(0, len(events) - 1))])
    assert machine.feed_response(response("in_progress")) == []
    answer = together([*told, *machine.feed_response(response("completed", items))])
    assert (answer.text.replace("【0:0†cats.pdf】", ""), answer.functions) == ("Hello there", [WEATHER])
    assert len(answer.annotations) == 1


@pytest.mark.parametrize(
    ("end", "why", "code", "retryable"),
    [
        (ended("failed", error={"code": "server_error", "message": "Oops."}), "Oops", "server_error", True),
        (
            ended("failed", error={"code": "rate_limit_exceeded", "message": "Slow."}),
            "Slow",
            "rate_limit_exceeded",
            True,
        ),
        (ended("failed", error={"code": "invalid_prompt", "message": "No."}), "No", "invalid_prompt", False),
        (ended("failed"), "'failed'", "server_error", True),
        (ended("cancelled"), "'cancelled'", "server_error", False),
        (ended("incomplete"), "unknown reason: ''", "server_error", True),
        (
            event({"type": "error", "code": None, "message": "Oops.", "param": None}, "error"),
            "Oops",
            "server_error",
            True,
        ),
        (event({"type": "error", "error": {"message": "Oops."}}, "error"), "Oops", "server_error", True),
        (event({"error": {"message": "Oops.", "code": 400}}), "Oops", "invalid_prompt", False),
    ],
)
def test_answers_that_never_come(end: Event, why: str, code: str, retryable: bool) -> None:
    with pytest.raises(StreamError, match=why) as caught:
        answer_of([*responses_answer("Hello")[:5], end])
    assert (caught.value.code, caught.value.retryable) == (code, retryable)


def test_one_that_is_gone_is_no_answer() -> None:
    with pytest.raises(StreamError, match="''"):
        ResponsesStream().feed_response({})


@pytest.mark.parametrize(
    "nonsense",
    [
        {"type": 1},
        {"type": "response.output_text.delta", "delta": 1},
        {"type": "response.output_item.done", "item": []},
        {"type": "response.completed", "response": "done"},
        {"type": "response.completed", "response": {"output": {}}},
        {"type": "response.completed", "response": {"output": [{"type": "function_call", "arguments": "{}"}]}},
    ],
)
def test_nonsense_is_an_error(nonsense: Any) -> None:
    with pytest.raises(StreamError) as caught:
        answer_of([event(nonsense)])
    assert not caught.value.retryable
