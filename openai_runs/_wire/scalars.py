"""Loads single JSON values, strict about their types; errors say which type is expected and which value came."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

from openai_runs.errors import snippet


def wrong(value: object, expected: str) -> NoReturn:
    text = repr(value)
    raise TypeError(f"expected {expected}, got {type(value).__name__} {snippet(text, 60)}")


def load_str(value: Any, _: object = None) -> str:
    return value if value.__class__ is str else wrong(value, "str")


def load_bool(value: Any, _: object = None) -> bool:
    return value if value.__class__ is bool else wrong(value, "bool")


def load_int(value: Any, _: object = None) -> int:
    if value.__class__ is int:
        return value
    if value.__class__ is float and value.is_integer():  # 1.0 is an integer in JSON Schema
        return int(value)
    wrong(value, "int")


def load_float(value: Any, _: object = None) -> float:
    return value if value.__class__ is float or value.__class__ is int else wrong(value, "number")


def load_mapping(value: Any, _: object = None) -> dict[str, Any]:
    return value if value.__class__ is dict else wrong(value, "object")


def load_open_enum(value: Any, enum: Any) -> Any:
    return enum(value) if value.__class__ is str else wrong(value, "str")


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MAX_SECONDS: Final = 10**11  # the year 5138; greater numbers are milliseconds, where this is 1973


class _Milliseconds(datetime):
    """A timestamp from a server that sends milliseconds; dumped as milliseconds, too."""


_MILLISECOND: Final = timedelta(milliseconds=1)
_EPOCH_IN_MILLISECONDS: Final = _Milliseconds(1970, 1, 1, tzinfo=UTC)


def load_datetime(value: Any, _: object = None) -> datetime:
    if value.__class__ is not int and value.__class__ is not float:
        wrong(value, "Unix seconds")
    if 0 <= value < MAX_SECONDS:
        return datetime.fromtimestamp(value, UTC)
    if -MAX_SECONDS < value < 0:
        return _EPOCH + timedelta(seconds=value)
    return _EPOCH_IN_MILLISECONDS + timedelta(milliseconds=value)


def dump_datetime(value: datetime) -> int | float:
    since = value - _EPOCH
    number = since / _MILLISECOND if value.__class__ is _Milliseconds else since.total_seconds()
    return int(number) if number.is_integer() else number
