"""JSON and models: what a server sends, and what a caller passes."""

import datetime as dt
import math
import re
from collections.abc import Iterator
from typing import Any, Final

from openai_runs import _wire
from openai_runs._wire.parameters import check_params
from openai_runs.engine import ApiError
from openai_runs.errors import ProtocolError
from openai_runs.models.tool import Function, FunctionTool
from openai_runs.server import validation
from openai_runs.toolbox import Toolbox
from tests.fuzz.seeds import examples, line, objects
from tests.fuzz.target import Target, chosen, first_line, with_head
from tests.samples import MODELS, PARAMS
from tests.strategies import equal


def models(data: bytes) -> None:
    """Any bytes make a model or a `ProtocolError`, never anything else.

    What strict loading accepts, liberal loading reads alike. A model is dumped and encoded as it was sent, is the same
    when it is loaded again, can be hashed and shown; and what it reads fits the model strictly. An error says where.
    """
    head, body = first_line(data)
    _, into = chosen(head, MODELS)
    expected, model = _loaded(body, into, strict=True), _loaded(body, into, strict=False)
    if isinstance(model, ProtocolError):
        assert isinstance(expected, ProtocolError), "strict loading accepts what liberal loading refuses"
        assert _not_json(body) or (model.paths and expected.paths)
        assert len(str(model)) < 10_000
        return
    if not isinstance(expected, ProtocolError):
        assert (model, model.absent) == (expected, expected.absent)
    sent = _wire.decode(body)
    assert equal(_wire.dump(model), sent)
    assert equal(_wire.decode(_wire.encode(model)), sent)
    again = _wire.load(_wire.dump(model), into, strict=False)
    assert again == model
    assert hash(again) == hash(model)
    _wire.load(_wire.dump_as_read(model), into)
    repr(model)


def _loaded(body: bytes, into: Any, *, strict: bool) -> Any:
    try:
        return _wire.load(body, into, strict=strict)
    except ProtocolError as error:
        return error


def _not_json(body: bytes) -> bool:
    try:
        _wire.decode(body)
    except ProtocolError:
        return True
    return False


#: What the client refuses and the document does not: it ignores some unknown names, and demands little.
_STRICTER: Final = re.compile("^unknown parameter|^missing parameter|must not be empty")


class _Odd:
    """A value of a class that nobody has heard of."""


#: What callers pass instead of JSON, by the text that stands for it in an input.
_ODD_VALUES: Final[dict[str, Any]] = {
    "<bytes>": b"x",
    "<nan>": math.nan,
    "<infinity>": math.inf,
    "<set>": {1},
    "<tuple>": ("a", {"type": "text", "text": "b"}),
    "<object>": _Odd(),
    "<class>": _Odd,
    "<time>": dt.datetime(2026, 8, 26, tzinfo=dt.UTC),
    "<generator>": (letter for letter in ""),
    "<tool>": FunctionTool(function=Function(name="f")),
    "<odd tool>": FunctionTool(function=Function(name="")),
    "<toolbox>": Toolbox(),
    "<number key>": {1: "a"},
    "<mixed keys>": {1: "a", "a": 1, None: 2},
}


def _with_odd_values(value: Any) -> Any:
    match value:
        case str():
            return _ODD_VALUES.get(value, value)
        case list():
            return [_with_odd_values(item) for item in value]
        case dict():
            return {name: _with_odd_values(item) for name, item in value.items()}
    return value


def parameters(data: bytes) -> None:
    """Parameters of a request are taken, or refused by a `TypeError` or `ValueError` that says so.

    Nothing else is raised, whatever objects are among them; nor while what is taken becomes JSON. What the server
    accepts as a body, the client lets pass and sends as it is, unless a name in it is unknown, or a name or value is
    missing.
    """
    head, body = first_line(data)
    schema, kind = chosen(head, PARAMS)
    if _not_json(body) or not isinstance(written := _wire.decode(body), dict):
        return
    written.pop("stream", None)  # which the client adds by itself
    params = _with_odd_values(written)
    try:
        check_params(params, kind)
        sent = _wire.encode(params)
    except (TypeError, ValueError) as refusal:
        if params == written and not _STRICTER.search(str(refusal)):
            assert not _is_valid(written, schema), f"the server takes what the client refuses: {refusal}"
        return
    read = _wire.decode(sent)
    assert params != written or equal(read, written)


def _is_valid(body: Any, schema: str) -> bool:
    try:
        validation.check(validation.parse(_wire.encode(body)), schema)
    except ApiError:
        return False
    return True


def _model_seeds() -> Iterator[bytes]:
    for schema, body in objects():
        yield with_head(schema, line(body))
    times = {"created_at": "2026-08-26T00:00:00Z", "started_at": 1_756_000_000_000, "expires_at": 1.5}
    yield with_head("RunObject", line({"id": "run_1", "thread_id": "thread_1", "status": "queued", **times}))


def _parameter_seeds() -> Iterator[bytes]:
    for schema, body in examples("request"):
        yield with_head(schema, line(body))
        for odd in _ODD_VALUES:
            yield with_head(schema, line({**body, min(body, default="metadata"): odd}))
    for odd in _ODD_VALUES:
        yield with_head("CreateRunRequest", line({"assistant_id": "a", "metadata": {"a": odd}, "tools": [odd]}))
        free = {"name": "f", "parameters": {"a": odd, "b": "\ud800"}}
        yield with_head(
            "CreateAssistantRequest", line({"model": "m", "tools": [{"type": "function", "function": free}]})
        )


TARGETS = (Target("models", models, _model_seeds), Target("parameters", parameters, _parameter_seeds))
