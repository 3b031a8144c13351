"""`ChatStream`: reads the event stream of a Chat Completions response."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs.backends.chat_stream import ChatStream
from openai_runs.backends.model_backend import TextChunk
from openai_runs.backends.stream_reading import StreamError
from tests.backends.reading import Answer, read, together
from tests.backends.streams import (
    DONE,
    Event,
    call_part,
    chat_answer,
    chat_usage,
    chunk,
    event,
    without,
)

WEATHER = ("get_weather", '{"city": "Oslo"}')
TIME = ("get_time", '{"zone": "CET"}')


def answer_of(events: list[Event], *, limit: int | None = None) -> Answer:
    machine = ChatStream(limit)
    told = read(machine, events)
    return together([*told, *machine.end()])


def test_an_answer() -> None:
    assert answer_of(chat_answer("Hello there")) == Answer("Hello there", usage=(10, 5), reason="stop")


def test_words_and_calls() -> None:
    answer = answer_of(chat_answer("Let me see.", [WEATHER, TIME]))
    assert (answer.text, answer.reason) == ("Let me see.", "tool_calls")
    assert answer.functions == [WEATHER, TIME]
    assert all(id and id.startswith("call_get_") for id, _, _ in answer.calls)


def test_a_refusal() -> None:
    answer = answer_of([chunk({"refusal": "I "}), chunk({"refusal": "cannot."}), chunk({}, "stop")])
    assert (answer.text, answer.refusal) == ("", "I cannot.")


@pytest.mark.parametrize(
    ("names", "differs"),
    [
        (("usage",), {"usage": None}),
        (("prompt_tokens",), {"usage": (0, 5)}),
        (("total_tokens", "created", "model", "object", "logprobs", "role"), {}),
        (("index",), {}),
        (("finish_reason",), {"reason": "stop"}),
    ],
)
def test_what_servers_leave_out(names: tuple[str, ...], differs: dict[str, Any]) -> None:
    whole = Answer("Hello there", usage=(10, 5), reason="stop")
    assert answer_of(without(chat_answer("Hello there"), *names)) == whole._replace(**differs)


@pytest.mark.parametrize("names", [("id",), ("index",), ("type",), ("index", "type"), ("id", "index", "type")])
def test_calls_without_what_names_them(names: tuple[str, ...]) -> None:
    answer = answer_of(without(chat_answer("", [WEATHER, TIME]), *names))
    assert answer.functions == [WEATHER, TIME]
    assert all((id is None) == ("id" in names) for id, _, _ in answer.calls)


def test_the_end_need_not_be_said_twice() -> None:
    assert answer_of([*chat_answer("Hello")[:-1]]).reason == "stop"
    assert answer_of([chunk({"content": "Hello"}), DONE]).reason == "stop"


def test_an_end_without_a_reason_at_the_limit_was_the_limit() -> None:
    assert answer_of([chunk({"content": "Hello"}), chat_usage(10, 5), DONE], limit=5).reason == "max_tokens"
    assert answer_of([chunk({"content": "Hello"}), chat_usage(10, 4), DONE], limit=5).reason == "stop"
    assert answer_of([chunk({"content": "Hello"}), DONE], limit=5).reason == "stop"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("length", "max_tokens"),
        ("content_filter", "content_filter"),
        ("eos_token", "stop"),
        ("model_length", "max_tokens"),
    ],
)
def test_reasons(said: str, reason: str) -> None:
    assert answer_of([chunk({"content": "Hello"}), chunk({}, said)]).reason == reason


def test_an_unknown_reason_after_an_answer_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    assert answer_of([chunk({"content": "Hello"}), chunk({}, "whatever")]).reason == "stop"
    assert "unknown finish_reason, taken for 'stop': 'whatever'" in caplog.text
    called = answer_of([chunk(call_part(0, "{}", name="now")), chunk({}, "whatever")])
    assert (called.functions, called.reason) == ([("now", "{}")], "stop")


def test_a_text_that_is_sent_again_at_the_end_is_not_doubled() -> None:
    words = [chunk({"content": "Hello "}), chunk({"content": "there"})]
    assert answer_of([*words, chunk({"content": "Hello there"}, "stop")]).text == "Hello there"
    message = {"role": "assistant", "content": "Hello there!"}
    assert answer_of([*words, chunk({}, "stop"), event({"choices": [{"message": message}]})]).text == "Hello there!"
    other = event({"choices": [{"delta": {}, "message": {"content": "Hi."}, "finish_reason": "stop"}]})
    assert answer_of([*words, other]).text == "Hello there"
    assert answer_of([chunk({"content": "ha"}), chunk({"content": "ha"}, "stop")]).text == "haha"


def test_calls_that_are_sent_again_at_the_end_are_not_doubled() -> None:
    message = {"tool_calls": [{"id": "1", "function": {"name": "now", "arguments": "{}"}}]}
    events = [chunk(call_part(0, "{}", name="now", id="1")), event({"choices": [{"message": message}]})]
    assert answer_of([*events, chunk({}, "tool_calls")]).functions == [("now", "{}")]


def test_calls_at_one_index_are_told_apart_by_their_ids() -> None:
    """Also if their parts alternate."""
    parts = [("a", '{"city":'), ("b", '{"zone":'), ("a", ' "Oslo"}'), ("b", ' "CET"}')]
    names = {"a": "get_weather", "b": "get_time"}
    events = [chunk(call_part(0, piece, name=names[id], id=id)) for id, piece in parts]
    assert answer_of([*events, chunk({}, "tool_calls")]).functions == [WEATHER, TIME]


def test_a_call_that_the_limit_cut_off_is_as_it_is() -> None:
    events = [chunk(call_part(0, '{"ci', name="get_weather")), chunk({}, "length")]
    assert answer_of(events) == Answer(calls=((None, "get_weather", '{"ci'),), reason="max_tokens")


def test_each_call_at_index_0() -> None:
    """Some servers send each call in one part, without an index."""
    events = [chunk(call_part(0, arguments, name=name, id=name)) for name, arguments in (WEATHER, TIME)]
    assert answer_of([*events, chunk({}, "tool_calls")]).functions == [WEATHER, TIME]


def test_name_and_id_with_each_part() -> None:
    parts = [chunk(call_part(0, piece, name="get_weather", id="1")) for piece in ('{"city":', ' "Oslo"}')]
    assert answer_of([*parts, chunk({}, "tool_calls")]).functions == [WEATHER]
    assert answer_of(without([*parts, chunk({}, "tool_calls")], "index")).functions == [WEATHER]


def test_a_name_that_comes_late() -> None:
    parts = [call_part(0, '{"city":', id="1", name=""), call_part(0, "", name="get_weather"), call_part(0, ' "Oslo"}')]
    assert answer_of([*map(chunk, parts), chunk({}, "tool_calls")]).functions == [WEATHER]


def test_arguments_as_an_object_or_not_at_all() -> None:
    as_object = {"tool_calls": [{"function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}]}
    [(name, arguments)] = answer_of([chunk(as_object), chunk({}, "stop")]).functions
    assert (name, json.loads(arguments)) == ("get_weather", {"city": "Oslo"})
    nothing = {"tool_calls": [{"index": 0, "function": {"name": "now"}}]}
    assert answer_of([chunk(nothing), chunk({}, "tool_calls")]).functions == [("now", "{}")]


def test_a_server_that_does_not_stream() -> None:
    message = {"role": "assistant", "content": "Hello", "tool_calls": [{"id": "1", "function": {"name": "now"}}]}
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    whole = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}], "usage": usage}
    assert answer_of([event(whole)]) == Answer("Hello", "", (("1", "now", "{}"),), (10, 5), "tool_calls")


ODD: list[dict[str, Any]] = [
    {},
    {"usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    {"object": "error"},
    {"object": None},
    {"error": {"message": "overloaded"}},
    {"error": {}},
    {"choices": []},
    {"choices": None},
    {"system_fingerprint": "fp", "service_tier": None, "obfuscation": "x"},
]


@pytest.mark.unmeasured
@pytest.mark.parametrize("more", ODD)
@pytest.mark.parametrize("name", [b"message", b"error"])
@pytest.mark.parametrize("reason", [None, "", "stop"])
@pytest.mark.parametrize(
    "delta",
    [
        {"content": "Hello"},
        {"content": ""},
        {"content": None},
        {"content": 3},
        {"content": [{"type": "text", "text": "Hello"}]},
        {"content": "Hello", "refusal": "no", "role": "assistant"},
        {"content": "Hello", "tool_calls": []},
        {"content": "Hello", "reasoning": "well"},
        {"content": "Hello", "extra_content": None, "logprobs": []},
    ],
)
def test_the_short_way_is_the_long_way(
    delta: dict[str, Any], reason: str | None, name: bytes, more: dict[str, Any]
) -> None:
    """A chunk is read alike, whether or not it is one of the many that have a piece of text and nothing else."""
    _, data = chunk(delta, reason, **more)

    def outcome(read: Any) -> Any:
        try:
            return read()
        except StreamError as error:
            return str(error)

    short, long = ChatStream(), ChatStream()
    told = outcome(lambda: short.feed(name, data))
    assert told == outcome(lambda: long.feed_response(json.loads(data), is_error=name == b"error"))
    assert short == long


def test_half_a_character_is_read_the_long_way() -> None:
    assert ChatStream().feed(b"message", chunk({"content": "\ud83d"})[1]) == [TextChunk("\ud83d")]


def test_words_among_thoughts() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    content = [thought, {"type": "text", "text": "Hello"}]
    answer = answer_of([chunk({"reasoning_content": "Hm."}), chunk({"content": content}), chunk({}, "stop")])
    assert answer.text == "Hello"


def test_what_means_nothing_is_passed_over() -> None:
    events = [event({}), event({"choices": None}), event({"choices": [], "usage": {}}), *chat_answer("Hello")]
    assert answer_of(events) == Answer("Hello", usage=(10, 5), reason="stop")


@given(st.data())
def test_half_an_answer_is_never_taken_for_a_whole_one(data: st.DataObject) -> None:
    """A stream cut anywhere before the finish reason is an error."""
    events = chat_answer("Hello there", [WEATHER])
    end = next(i for i, (_, text) in enumerate(events) if b'"finish_reason": "tool_calls"' in text)
    with pytest.raises(StreamError, match="cut off") as caught:
        answer_of(events[: data.draw(st.integers(0, end))])
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("events", "why", "retryable"),
    [
        ([("message", b'{"choices": [')], "not JSON", True),
        ([("message", b"[1]")], "wrong type", False),
        ([event({"choices": {}})], "choices of the wrong type", False),
        ([event({"choices": [1]})], "a choice of the wrong type", False),
        ([chunk({"content": 1})], "content of the wrong type", False),
        (
            [chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}), chunk({}, "stop")],
            "without the function.s name",
            False,
        ),
        ([chunk({}, "tool_calls")], "without a tool call", True),
        ([chunk({"content": "Hello"}, "error")], "unknown finish_reason: 'error'", True),
        ([chunk({"content": "Hel"}, "insufficient_system_resource")], "unknown finish_reason", True),
        ([chunk({}, "whatever")], "unknown finish_reason: 'whatever'", True),
        ([chunk({}, "function_call")], "unknown finish_reason", True),
    ],
)
def test_what_would_change_the_meaning_is_an_error(events: list[Event], why: str, retryable: bool) -> None:
    with pytest.raises(StreamError, match=why) as caught:
        answer_of(events)
    assert caught.value.retryable is retryable
    assert caught.value.code == "server_error"


@pytest.mark.parametrize(
    "bare", [event({"message": "Busy."}, "error"), event({"object": "error", "message": "Busy.", "code": 500})]
)
def test_an_error_without_its_wrapping(bare: Event) -> None:
    with pytest.raises(StreamError, match=r"Busy\."):
        answer_of([bare])
