"""Damage to inputs that keeps most of their form: what is random all over is refused at the door.

An input is a text of lines. A line that is JSON, perhaps behind the name of a field as in ``data: {}``, is damaged as
JSON: a place in it becomes another value, is taken away, or is told twice.
"""

import json
import re
from collections.abc import Iterator
from random import Random
from typing import Any, Final

_FIELD: Final = re.compile(rb"(data: ?)?(?=[\[{\"])")
#: What some program has not expected in some place.
VALUES: Final = (
    None,
    True,
    False,
    0,
    -1,
    1,
    1.0,
    0.5,
    -0.0,
    1e300,
    2**31,
    2**53 + 1,
    2**63,
    2**64,
    -(2**70),
    10**11,
    -62_135_596_801,
    "",
    " ",
    "0",
    "\0",
    "\ud800",
    "\u2028",
    "a" * 70,
    "é" * 600,
    "message",
    "function",
    "text",
    "refusal",
    "auto",
    "error",
    "completed",
    "requires_action",
    "2026-08-26T00:00:00Z",
    "9999-12-31T23:59:59-23:59",
    [],
    {},
    [[]],
    [None],
    {"": {}},
    {"type": "text"},
    {"type": "x"},
)


def damaged(data: bytes, random: Random) -> bytes:
    """The input with one to four places damaged."""
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4))):
        data = _damaged_once(data, random)
    return data


def _damaged_once(data: bytes, random: Random) -> bytes:
    lines = data.split(b"\n")
    way = random.random()
    as_json = [(number, start) for number, line in enumerate(lines) if (start := _start(line)) is not None]
    if as_json and way < 0.7:
        number, start = random.choice(as_json)
        if (parsed := _parsed(lines[number][start:])) is not None:
            lines[number] = lines[number][:start] + _text(_with_damage(parsed[0], random), random)
    elif len(lines) > 1 and way < 0.85:
        at, other = random.randrange(len(lines)), random.randrange(len(lines))
        match random.randrange(3):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, lines[other])
            case _:
                lines[at], lines[other] = lines[other], lines[at]
    else:
        return _with_other_bytes(data, random)
    return b"\n".join(lines)


def _start(line: bytes) -> int | None:
    found = _FIELD.match(line)
    return None if found is None else found.end()


def _parsed(text: bytes) -> tuple[Any] | None:
    try:
        return (json.loads(text),)
    except (ValueError, RecursionError):
        return None


def _text(value: Any, random: Random) -> bytes:
    return json.dumps(value, ensure_ascii=random.random() < 0.7).encode(errors="surrogatepass")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each container in a value, with one of its keys."""
    left = [value]
    while left:
        inner = left.pop()
        if isinstance(inner, dict | list):
            for key in list(inner) if isinstance(inner, dict) else range(len(inner)):
                yield inner, key
                left.append(inner[key])


def _with_damage(value: Any, random: Random) -> Any:
    places = list(_places(value))
    if not places or random.random() < 0.03:
        return random.choice(VALUES)
    container, key = random.choice(places)
    other, other_key = random.choice(places)
    match random.randrange(7):
        case 0 | 1:
            container[key] = random.choice(VALUES)
        case 2:
            container[key] = json.loads(json.dumps(other[other_key]))  # a copy: nothing contains itself
        case 3:
            del container[key]
        case 4:
            container[key] = [container[key]] * random.choice((1, 2, 20))
        case 5 if isinstance(container[key], int | float):
            container[key] = container[key] * random.choice((-1, 2, 1000, 0.1))
        case 5 if isinstance(container[key], str):
            container[key] = _with_other_bytes(container[key].encode(errors="replace"), random).decode(errors="replace")
        case _ if isinstance(container, dict):
            container[random.choice((f"{key}x", "type", "id", "index", ""))] = random.choice(VALUES)
        case _:
            container.insert(key, random.choice(VALUES))
    return value


def _with_other_bytes(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    end = min(len(data), at + random.choice((0, 1, 1, 2, 8)))
    new = random.choice((b"", b"\0", b"\r", b"\n", b"\r\n", b"\xff", b'"', b"{", b",", bytes([random.randrange(256)])))
    return data[:at] + new + data[end:]
