"""Generates a function for each model class that dumps it to JSON."""

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from cattrs import Converter

from openai_runs._wire.hints import fields_of, without_none
from openai_runs._wire.liberal import LiberalReader
from openai_runs.models.model import NO_EXTRA

#: Types that are JSON already. Mappings are free-form JSON, which has no models in it.
_JSON_TYPES: Final = (str, bool, int, float, Mapping[str, str], Mapping[str, Any])


class _Hooks(dict[type[Any], Callable[[Any], Any]]):
    """What dumps the values of a class: as `Converter.unstructure` finds it, without a call for each value."""

    def __init__(self, converter: Converter) -> None:
        self._converter = converter

    def __missing__(self, cls: type[Any]) -> Callable[[Any], Any]:
        hook = self[cls] = self._converter.get_unstructure_hook(cls)
        return hook


def unstructure_model(cls: Any, converter: Converter, reader: LiberalReader, *, as_read: bool) -> Callable[[Any], Any]:
    """Generate the dump function of a model class: as it was sent, or ``as_read``, where an oddity is not repeated."""
    fields = fields_of(cls)
    # An absent field is left out unless it was changed since. As read, what the API requires is never left out.
    defaults = {
        name: field.default if as_read else reader.if_missing(field, without_none(field.type)[1])
        for name, field in fields.items()
    }

    def odd(model: Any) -> dict[str, Any]:
        """The extra fields, and the fields whose values did not fit, unless they were changed since."""
        return {
            name: raw
            for name, raw in model.extra.items()
            if name not in fields
            or model.absent is None
            or not (as_read or getattr(model, name) != reader.reread(cls, name, raw))
        }

    scope = {
        "NO_EXTRA": NO_EXTRA,
        "hooks": _Hooks(converter),
        "defaults": defaults,
        "unset": [name for name, default in defaults.items() if default is None],
        "known": frozenset(fields),
        "odd": odd,
    }
    pairs = [
        f"{name!r}: o.{name}"
        if without_none(field.type)[1] in _JSON_TYPES
        else f"{name!r}: None if (v := o.{name}) is None else hooks[v.__class__](v)"
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
        "        d.update(o.extra if known.isdisjoint(o.extra) else odd(o))",
        "    return d",
    ]
    exec("\n".join(lines), scope)  # noqa: S102  # our own class definitions, not input
    return cast("Callable[[Any], Any]", scope["dump_model"])
