"""Loads models from JSON text, without the dicts and lists in between: by way of structs, several times as fast."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
from cattrs import Converter
from msgspec import Raw

from openai_runs._wire.hints import fields_of, is_model, without_none
from openai_runs._wire.json_text import decode
from openai_runs._wire.structs import LoadPart, Structs
from openai_runs.models.model import Model

#: How many different parts of one type are kept, and the greatest length of their texts, in bytes.
_PARTS: Final = 128
_MAX_PART: Final = 32 * 1024
#: How many unknown names are learned, of all classes together. Structs are generated anew after each text with some.
_MAX_LEARNED: Final = 64
#: Names of usual length, without the characters that msgspec does not take.
_is_plain: Final = re.compile(r"[\w.:-]{1,64}", re.ASCII).fullmatch


class TextLoader:
    """Loads what fits exactly, and learns which unknown fields an endpoint sends."""

    def __init__(self, converter: Converter) -> None:
        """Prepare.

        Args:
            converter: Loads parsed JSON.
        """
        self._converter: Final = converter
        self._parts: Final[dict[Any, LoadPart]] = {}
        self._decoders: Final[dict[Any, Callable[[bytes | str], Any]]] = {}
        self._learned: Final = defaultdict[Any, list[str]](list)
        self._room = _MAX_LEARNED  # how many more names may be learned
        self._structs = Structs(self._part_loader, self._learned)

    def load(self, text: bytes | str, target: Any) -> Any:
        """Make a model of a text. Any exception means that this is not the way to load it, and no more than that."""
        decode_struct = self._decoders.get(target) or self._decoder(target)
        return decode_struct(text).to_model()

    def _decoder(self, target: Any) -> Callable[[bytes | str], Any]:
        if not is_model(target):
            raise TypeError(f"not a model class: {target}")
        found = self._decoders[target] = msgspec.json.Decoder(self._structs.of(target)).decode
        return found

    def _part_loader(self, hint: Any) -> LoadPart:
        """The loader of a part that is the same in many texts, such as the tools of an assistant's runs."""
        if (found := self._parts.get(hint)) is not None:
            return found
        nullable, kind = without_none(hint)
        structure = self._converter.get_structure_hook(kind)
        known: dict[bytes, Any] = {}
        latest, latest_part = Raw(), None

        def load_part(raw: Raw) -> Any:
            nonlocal latest, latest_part
            if raw == latest:  # as a rule, in a list; a hash of the text would take as long as all the rest
                return latest_part
            text = bytes(raw)  # a copy: ``raw`` would keep the whole text
            if (part := known.get(text, known)) is known:
                plain = decode(text)
                part = None if plain is None and nullable else structure(plain, kind)
                if len(text) > _MAX_PART:
                    return part
                if len(known) >= _PARTS:
                    del known[next(iter(known))]
                known[text] = part
            latest, latest_part = Raw(text), part
            return part

        self._parts[hint] = load_part
        return load_part

    def learn(self, refusal: str, loaded: Any) -> None:
        """Expect the unknown fields of a model from now on, if `load` refused its text because of them."""
        room = self._room
        if room == 0 or not refusal.startswith("Object contains unknown field"):
            return
        for cls, name in _unknown_fields(loaded):
            names = self._learned[cls]
            if self._room and name not in names and _is_plain(name):
                names.append(name)
                self._room -= 1
        if self._room == room:  # counts, too, or such texts would be searched for ever
            self._room -= 1
            return
        self._structs = Structs(self._part_loader, self._learned)
        self._decoders.clear()


def _unknown_fields(value: Any) -> Iterator[tuple[Any, str]]:
    """The class and name of each field that models do not have."""
    if isinstance(value, tuple):
        for item in value:
            yield from _unknown_fields(item)
    elif isinstance(value, Model):
        cls = type(value)
        known = fields_of(cls)
        yield from ((cls, name) for name in value.extra if name not in known)
        for name in known:
            yield from _unknown_fields(getattr(value, name))
