"""The fast path for text deltas gives the same result as `_wire.load`, or none; what is inside is made on demand."""

import copy
import json
import pickle

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs import _wire
from openai_runs._evolving import evolve
from openai_runs._http import sse
from openai_runs.errors import ProtocolError
from openai_runs.following.text_deltas import MESSAGE_DELTA, Pieces, TextDeltas
from openai_runs.models.delta import MessageChanges, MessageDelta
from tests.strategies import bodies, damaged

USUAL = {
    "id": "msg_1",
    "object": "thread.message.delta",
    "delta": {"content": [{"index": 0, "type": "text", "text": {"value": "Hi"}}]},
}


def usual(value, index=0, **fields):
    text = {"value": value, **fields}
    return {**USUAL, "delta": {"content": [{"index": index, "type": "text", "text": text}]}}


def everything(model):
    """A model's fields, recursively, including those that equality leaves out."""
    if attrs.has(type(model)):
        return type(model), [everything(getattr(model, field.name)) for field in attrs.fields(type(model))]
    return [everything(item) for item in model] if isinstance(model, tuple) else model


def read(data, texts=None):
    """The delta of an event, or none."""
    found = (texts or TextDeltas()).read(data)
    return None if found is None else found[0].delta(found[1])


def is_made(delta):
    """Whether somebody has asked for what is inside."""
    try:
        object.__getattribute__(delta, "delta")
    except AttributeError:
        return False
    return True


def text_of(*events):
    """The text of a stream."""
    return b"".join(
        sse.frame("thread.message.delta", each if isinstance(each, bytes) else dumped(each)) for each in events
    )


def dumped(body):
    return json.dumps(body).encode()


def outcome(load):
    """The models, or the error."""
    try:
        return [everything(each) for each in load()]
    except ProtocolError as error:
        return str(error), error.paths


def one_by_one(text):
    """The exact loader's models of a text."""
    return [_wire.load(data, MessageDelta) for _, data in sse.Decoder().feed(text)]


def taught(*events):
    """A reader that has read events before."""
    texts = TextDeltas()
    for each in events:
        texts.read(dumped(each))
    return texts


def at_once(text, texts):
    """A stream's models of a text."""
    told, decoder = [], sse.Decoder()
    for part in texts.parts(decoder.completed(text)):
        if isinstance(part, Pieces):
            told += map(part.place.delta, part.values)
        else:
            told += [read(data, texts) or _wire.load(data, MessageDelta) for _, data in decoder.frames(part)]
    return told


@given(st.text(), st.integers(0, 2**62), st.booleans(), st.booleans())
def test_usual(value, index, annotated, spaced):
    """Text deltas take the fast path, whatever their text and JSON formatting."""
    body = usual(value, index, **({"annotations": []} if annotated else {}))
    data = json.dumps(body, ensure_ascii=spaced, separators=None if spaced else (",", ":")).encode()
    delta = read(data)
    assert (delta.text, is_made(delta)) == (value, False)
    assert everything(delta) == everything(_wire.load(data, MessageDelta))
    assert (delta.text, is_made(delta)) == (value, True)
    assert _wire.dump(delta) == body


@given(bodies("MessageDeltaObject").map(json.dumps) | damaged(bodies("MessageDeltaObject")).map(json.dumps) | st.text())
def test_any(text):
    """The fast path returns what `_wire.load` returns."""
    data = text.encode(errors="replace")
    if (short := read(data)) is not None:
        assert everything(short) == everything(_wire.load(data, MessageDelta))


@pytest.mark.parametrize(
    "body",
    [
        {**USUAL, "extra": 1},
        usual("Hi", extra=1),
        usual("Hi", index="0"),
        usual("Hi", index=1.0),
        usual(None),
        usual("Hi", annotations=[{"index": 0, "type": "file_path"}]),
        {**USUAL, "delta": {"role": "assistant", **USUAL["delta"]}},
        {**USUAL, "delta": {"content": []}},
        {**USUAL, "delta": {"content": USUAL["delta"]["content"] * 2}},
        {**USUAL, "delta": {"content": [{"index": 0, "type": "refusal", "refusal": "no"}]}},
        [],
    ],
)
def test_unusual(body):
    """Any other event is left to `_wire.load`."""
    assert read(json.dumps(body).encode()) is None


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"id": "\xff"}', b"[" * 100_000, b"[DONE]"])
def test_no_json(data):
    """So is invalid JSON."""
    assert read(data) is None


@pytest.mark.parametrize(
    "use",
    [
        lambda delta: delta.delta,
        repr,
        hash,
        lambda delta: delta == MessageDelta(id="msg_1", delta=MessageChanges()),
        lambda delta: attrs.evolve(delta, id="msg_2"),
        evolve,
        attrs.asdict,
        lambda delta: pickle.loads(pickle.dumps(delta)),
        copy.copy,
        copy.deepcopy,
        _wire.dump,
    ],
)
def test_inside(use):
    """Whoever looks inside finds what the exact loader makes, and the same object ever after."""
    delta, exact = read(dumped(usual("Hi"))), _wire.load(usual("Hi"), MessageDelta)
    assert not is_made(delta)
    assert str(delta) == str(exact)
    assert not is_made(delta)
    assert use(delta) == use(exact)
    assert is_made(delta)
    assert delta.delta is delta.delta
    for other in (pickle.loads(pickle.dumps(delta)), copy.copy(delta), evolve(delta)):
        assert everything(other) == everything(exact)
        assert other.text == "Hi"


def test_no_other_names():
    """An unknown name is an error like that of any object; and deltas are still frozen."""
    delta = read(dumped(usual("Hi")))
    with pytest.raises(AttributeError, match="'MessageDelta' object has no attribute 'txet'") as caught:
        _ = delta.txet
    assert (caught.value.name, caught.value.obj) == ("txet", delta)
    with pytest.raises(AttributeError):
        delta.delta = None


#: What stands at the place of an event's piece: strings as JSON writes them, and much that is none.
_strings = st.text(max_size=6).map(lambda text: json.dumps(text).encode()) | st.text(max_size=6).map(
    lambda text: json.dumps(text, ensure_ascii=False).encode()
)
_others = st.sampled_from(
    [
        b"",
        b"1",
        b"null",
        b'"a',
        b'a"',
        b'"a","b"',
        b'"a", "index": 1',
        b'"a"}}]}}',
        b' "a" ',
        b'"\\ud800"',
        b'"\xff"',
        b"[" * 9,
    ]
) | st.binary(max_size=4).filter(lambda some: b"\n" not in some and b"\r" not in some)


@given(st.lists(st.tuples(_strings | _others, st.booleans()), max_size=8), st.booleans())
def test_pieces(inserted, annotated):
    """A text is read as its events are one by one, or refused with the same words, whatever is in their place."""
    known = usual("known", **({"annotations": []} if annotated else {}))
    begin, _, end = dumped(known).rpartition(b'"known"')
    text = text_of(*(begin + each + end if is_there else each for each, is_there in inserted))
    texts = taught(known, known)
    assert not texts.is_learning
    assert outcome(lambda: at_once(text, texts)) == outcome(lambda: one_by_one(text))


def test_all_at_once():
    """Events that follow each other are read at once; what lies between them is left to the caller, in its place."""
    texts = taught(usual("a"), usual("b"))
    text = text_of(usual("c"), usual("d"), usual("e", index=1), usual("f")) + b": a comment\n\n" + text_of(usual("g"))
    first, between, second, comment, third = texts.parts(text)
    assert [part.values for part in (first, second, third)] == [["c", "d"], ["f"], ["g"]]
    assert (between, comment) == (text_of(usual("e", index=1)), b": a comment\n\n")
    assert texts.parts(text_of(usual("h"), usual("i")))[0].values == ["h", "i"]
    assert texts.parts(comment) == [comment]
    assert texts.parts(b"") == [b""]


@pytest.mark.parametrize("more", [b'"a"\n', b'"a"\ndata: ', b'\n"a"'])
def test_lines(more):
    """An event of several lines is not taken for one of the known form."""
    begin, _, end = dumped(usual("known")).rpartition(b'"known"')
    text = text_of(begin + more + end)
    assert taught(usual("a"), usual("b")).parts(text) == [text]


@pytest.mark.parametrize(
    "body",
    [
        {"object": "o", "delta": {"content": [{"text": {"value": "text"}, "index": 0, "type": "text"}]}, "id": "m"},
        {"object": "o", "delta": {"content": [{"index": 0, "type": "text", "text": {"value": "m"}}]}, "id": "m"},
    ],
)
def test_the_piece_again(body):
    """An event in which the piece comes again later teaches nothing."""
    texts = taught(body, body, body)
    assert texts.is_learning
    text = text_of(body)
    assert texts.parts(text) == [text]


def test_several_lines_of_data():
    """Nor does one whose data has several lines."""
    texts = TextDeltas()
    for _ in range(3):
        assert read(json.dumps(usual("a"), indent=1).encode(), texts).text == "a"
    assert texts.is_learning


def test_another_text():
    """The form of another text is learned when that is the one that goes on."""
    texts = taught(usual("a"), usual("b"), usual("c", index=1))
    assert [type(part) for part in texts.parts(text_of(usual("d"), usual("e", index=1)))] == [Pieces, bytes]
    taught_more = text_of(usual("f", index=1))
    for _, data in sse.Decoder().feed(taught_more):
        texts.read(data)
    (pieces,) = texts.parts(taught_more)
    assert (pieces.place.index, pieces.values) == (1, ["f"])


def test_the_name():
    """The name of these events."""
    assert sse.frame("thread.message.delta", b"1").startswith(b"event: %b\n" % MESSAGE_DELTA)
