"""JSON to models and back; the only user of cattrs.

A generated loader only tells *that* a body does not fit. Then a second converter, which collects all that is wrong, is
asked *where*.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

from cattrs import Converter, transform_error

from openai_runs._wire.dumping import unstructure_model
from openai_runs._wire.hints import is_choice, is_mapping, is_model, is_tuple
from openai_runs._wire.json_text import decode, encode_plain
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
from openai_runs.errors import ProtocolError, snippet
from openai_runs.models.model import Unknown
from openai_runs.models.open_enum import OpenEnum

T = TypeVar("T")


def load(data: bytes | str | Mapping[str, Any], into: type[T]) -> T:
    """Make a model of the API's JSON: ``load(text, Run)``, ``load(body, Page[Run])``.

    Args:
        data: JSON text, or what it parses to.
        into: A model class.

    Raises:
        ProtocolError: It is not JSON, or does not fit; ``paths`` names each place that is wrong.
    """
    plain = decode(data) if isinstance(data, bytes | str) else data
    try:
        return _FAST.structure(plain, into)
    except Exception as error:  # whatever it was, the exact converter says it better
        first = error
    try:
        _EXACT.structure(plain, into)
    except Exception as error:  # cattrs groups its own, and lets those of our hooks at the root through
        paths = tuple(transform_error(error, format_exception=_describe))
        more = f"; and {len(paths) - 5} more" if len(paths) > 5 else ""
        name = getattr(into, "__name__", str(into))
        message = f"not a {name}: {'; '.join(paths[:5])}{more}"
        raise ProtocolError(message, paths=paths, body=snippet(repr(plain))) from error
    raise first  # a bug of ours: the two have to agree


def dump(value: Any) -> Any:
    """Make what JSON can hold of a model, or of anything that has models in it.

    What was loaded comes back as it was sent, unknown and absent fields included; times to the microsecond. The order
    of keys is ours. Free JSON, such as metadata and unknown fields, is shared with the model and not copied.
    """
    return _FAST.unstructure(value)


def _describe(error: BaseException, _: type | None) -> str:
    return f"missing {error.args[0]!r}" if isinstance(error, KeyError) else str(error)


def encode(value: Any) -> bytes:
    """Write JSON; models in it are dumped first. A float that is not finite becomes ``null``, as in JavaScript."""
    return encode_plain(dump(value))


def _converter(structure_model: Callable[[Any, Converter], Load], *, detailed: bool) -> Converter:
    converter = Converter(detailed_validation=detailed)
    for scalar, load in (str, load_str), (bool, load_bool), (int, load_int), (float, load_float):
        converter.register_structure_hook(scalar, load)
    converter.register_structure_hook(datetime, load_datetime)
    converter.register_structure_hook(OpenEnum, load_open_enum)  # comes before `str` in the order of their bases
    converter.register_structure_hook_func(is_mapping, load_mapping)
    converter.register_structure_hook_factory(is_tuple, structure_tuple)
    converter.register_structure_hook_factory(is_choice, structure_union)
    converter.register_structure_hook_factory(is_model, structure_model)
    converter.register_unstructure_hook(datetime, dump_datetime)
    converter.register_unstructure_hook(tuple, lambda items: [converter.unstructure(item) for item in items])
    converter.register_unstructure_hook(Unknown, lambda unknown: unknown.raw)
    converter.register_unstructure_hook(OpenEnum, str)
    converter.register_unstructure_hook_factory(is_model, unstructure_model)
    return converter


_FAST: Final = _converter(structure_model, detailed=False)
_EXACT: Final = _converter(structure_model_exactly, detailed=True)
