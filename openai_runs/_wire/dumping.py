"""Generates a function for each model class that dumps it to JSON."""

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from cattrs import Converter

from openai_runs._wire.hints import fields_of, without_none
from openai_runs.models.model import NO_EXTRA

#: Types that are JSON already. Mappings are free-form JSON, which has no models in it.
_JSON_TYPES: Final = (str, bool, int, float, Mapping[str, str], Mapping[str, Any])


def unstructure_model(cls: Any, converter: Converter) -> Callable[[Any], dict[str, Any]]:
    """Generate the dump function of a model class."""
    fields = fields_of(cls)
    defaults = {name: field.default for name, field in fields.items()}
    scope = {
        "NO_EXTRA": NO_EXTRA,
        "dump": converter.unstructure,
        "defaults": defaults,
        "unset": [name for name, default in defaults.items() if default is None],
    }
    pairs = [
        f"{name!r}: o.{name}"
        if without_none(field.type)[1] in _JSON_TYPES
        else f"{name!r}: None if (v := o.{name}) is None else dump(v)"
        for name, field in fields.items()
    ]
    lines = [
        "def dump_model(o):",
        "    d = {" + ", ".join(pairs) + "}",
        "    absent = o.absent",
        "    if absent is None:",
        "        for name in unset:",
        "            if d[name] is None:",
        "                del d[name]",
        "    else:",
        "        for name in absent:",
        "            if getattr(o, name) == defaults[name]:",
        "                del d[name]",
        "    if o.extra is not NO_EXTRA:",
        "        d.update(o.extra)",
        "    return d",
    ]
    exec("\n".join(lines), scope)  # noqa: S102  # our own class definitions, not input
    return cast("Callable[[Any], dict[str, Any]]", scope["dump_model"])
