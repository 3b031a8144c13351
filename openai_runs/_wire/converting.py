"""Converts JSON to models and back; this room is the only user of cattrs.

JSON text is loaded by `TextLoader`, and what that refuses is parsed. For parsed JSON there are two converters. The fast
one uses generated loaders, which find out *that* a body does not fit. Only then another way is taken: the exact
converter collects every error and its place; or, for the body of a server that may have its oddities, the liberal
reader makes a model nevertheless.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

from cattrs import Converter, transform_error

from openai_runs._wire.dumping import unstructure_model
from openai_runs._wire.hints import is_choice, is_mapping, is_model, is_tuple, name_of
from openai_runs._wire.json_text import decode, encode_plain
from openai_runs._wire.liberal import LiberalReader, Notes
from openai_runs._wire.loading import Load, structure_model, structure_model_exactly, structure_tuple, structure_union
from openai_runs._wire.scalars import (
    dump_datetime,
    load_bool,
    load_datetime,
    load_float,
    load_int,
    load_mapping,
    load_open_enum,
    load_str,
)
from openai_runs._wire.text_loading import TextLoader
from openai_runs.errors import ProtocolError, snippet
from openai_runs.models.model import Unknown
from openai_runs.models.open_enum import OpenEnum
from openai_runs.models.tool import ToolSource

T = TypeVar("T")


def load(data: bytes | str | Mapping[str, Any], into: type[T], *, strict: bool = True) -> T:
    """Make a model of the API's JSON: ``load(text, Run)``, ``load(body, Page[Run])``.

    Args:
        data: JSON text, or a parsed JSON object.
        into: A model class.
        strict: Whether everything has to fit the model. By default it has to: what a program has stored itself is
            damaged if it does not fit. A `Session` reads responses with ``strict=False``: then only what a run cannot
            be followed without has to be there, and every oddity is kept and logged; see `Model`.

    Raises:
        ProtocolError: It is not JSON, or does not fit the model; ``paths`` names each wrong place.
    """
    plain, refusal = data, ""
    if isinstance(data, (bytes, str)):
        try:
            model: T = _TEXT.load(data, into)
            return model
        except Exception as error:  # of any kind: the other ways find the details
            refusal = str(error)
        plain = decode(data)
    try:
        model = _FAST.structure(plain, into)
    except Exception as error:  # the same
        first = error
    else:
        if refusal:
            _TEXT.learn(refusal, model)
        return model
    if not strict and is_model(into) and plain.__class__ is dict:
        notes = Notes()
        model = _LIBERAL.read(into, plain, "$", notes)
        if notes.problems:
            raise _protocol_error(tuple(notes.problems), into, plain)
        notes.log()
        return model
    try:
        _EXACT.structure(plain, into)
    except Exception as error:  # cattrs' exception groups, or one of our hooks' errors if the root is wrong
        raise _protocol_error(tuple(transform_error(error, format_exception=_describe)), into, plain) from error
    raise first  # a bug of ours: the two converters must agree


def _protocol_error(paths: tuple[str, ...], into: Any, plain: Any) -> ProtocolError:
    more = f"; and {len(paths) - 5} more" if len(paths) > 5 else ""
    message = f"not {with_article(name_of(into))}: {'; '.join(paths[:5])}{more}"
    return ProtocolError(message, paths=paths, body=snippet(repr(plain)))


def with_article(name: str) -> str:
    """The name of a model as a sentence has it: an Assistant, a Run."""
    return f"{'an' if name[:1] in 'AEIO' else 'a'} {name}"


def dump(value: Any) -> Any:
    """Convert a model, or a value that contains models, to JSON objects and arrays: dicts and lists.

    A loaded model is dumped as it was sent, unknown and absent fields included; times to the microsecond. Keys are in
    the order of the model's fields. Free-form JSON, such as metadata and unknown fields, is shared with the model, not
    copied.
    """
    return _FAST.unstructure(value)


def dump_as_read(value: Any) -> Any:
    """Dump what the fields say: without the values that did not fit, and with fields that the API requires."""
    return _AS_READ.unstructure(value)


def _describe(error: BaseException, _: type | None) -> str:
    return f"missing {error.args[0]!r}" if isinstance(error, KeyError) else str(error)


def encode(value: Any) -> bytes:
    """Encode a value as JSON text; models are dumped first. NaN and infinity become ``null``, as in JavaScript."""
    return encode_plain(dump(value))


def _converter(
    structure_model: Callable[[Any, Converter], Load], *, detailed: bool = False, as_read: bool = False
) -> tuple[Converter, LiberalReader]:
    converter = Converter(detailed_validation=detailed)
    reader = LiberalReader(converter)
    for scalar, load in (str, load_str), (bool, load_bool), (int, load_int), (float, load_float):
        converter.register_structure_hook(scalar, load)
    converter.register_structure_hook(datetime, load_datetime)
    converter.register_structure_hook(OpenEnum, load_open_enum)  # `str` is a base, too: this hook must win
    converter.register_structure_hook_func(is_mapping, load_mapping)
    converter.register_structure_hook_factory(is_tuple, structure_tuple)
    converter.register_structure_hook_factory(is_choice, structure_union)
    converter.register_structure_hook_factory(is_model, structure_model)
    converter.register_unstructure_hook(datetime, dump_datetime)
    converter.register_unstructure_hook(tuple, lambda items: [converter.unstructure(item) for item in items])
    converter.register_unstructure_hook(Unknown, lambda unknown: unknown.raw)
    converter.register_unstructure_hook(OpenEnum, str)
    converter.register_unstructure_hook(ToolSource, lambda source: converter.unstructure(source.tools))
    converter.register_unstructure_hook_factory(
        is_model, lambda cls: unstructure_model(cls, converter, reader, as_read=as_read)
    )
    return converter, reader


_FAST, _LIBERAL = _converter(structure_model)
_EXACT, _ = _converter(structure_model_exactly, detailed=True)
_TEXT: Final = TextLoader(_FAST)
_AS_READ, _ = _converter(structure_model, as_read=True)
