"""Classes that make their own JSON, as pydantic's models do: `msgspec` asks the hooks in here about them.

Such a class is known by its methods, so pydantic need not be installed.
"""

from typing import Any, TypeGuard

import msgspec
from attrs import Factory, define, field

_METHODS = ("model_json_schema", "model_validate_json", "model_dump_json")


def is_json_model(cls: object) -> TypeGuard[Any]:
    """Whether a class makes its own JSON."""
    return isinstance(cls, type) and all(hasattr(cls, method) for method in _METHODS)


def decode_json_model(cls: type[Any], value: Any) -> Any:
    """The ``dec_hook`` of `msgspec`: make an instance of parsed JSON."""
    if not is_json_model(cls):
        raise NotImplementedError(f"there is no way to read {cls.__name__} from JSON")
    return cls.model_validate_json(msgspec.json.encode(value))  # as JSON: to a strict model, a list is not a tuple


def encode_json_model(value: Any) -> msgspec.Raw:
    """The ``enc_hook`` of `msgspec`: make JSON text of an instance."""
    if not is_json_model(type(value)):
        raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")
    return msgspec.Raw(value.model_dump_json().encode())


@define
class SchemaHook:
    """The ``schema_hook`` of `msgspec`; collects what the schemas refer to, which has to stand at the top."""

    definitions: dict[str, Any] = field(default=Factory(dict), init=False)

    def __call__(self, cls: type[Any]) -> dict[str, Any]:
        """The schema of a class, without its ``$defs``."""
        if not is_json_model(cls):
            raise NotImplementedError(f"there is no schema for {cls.__name__}")
        schema = dict(cls.model_json_schema())
        self.add(schema.pop("$defs", {}))
        return schema

    def add(self, definitions: dict[str, Any]) -> None:
        """Add definitions.

        Raises:
            TypeError: There is another one of the same name.
        """
        for name, definition in definitions.items():
            if self.definitions.setdefault(name, definition) != definition:
                raise TypeError(f"two types have the name {name!r} in the schema: rename one")
