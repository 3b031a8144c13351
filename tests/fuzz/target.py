"""What a target is, and how it takes several values out of one input."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

from attrs import define

T = TypeVar("T")


@define(slots=False)
class Target:
    """One border of the library, and what must hold there whatever comes."""

    name: str
    check: Callable[[bytes], None]  #: fails if a promise is broken; its docstring names them all
    read_seeds: Callable[[], Iterable[bytes]]

    @cached_property
    def seeds(self) -> Sequence[bytes]:
        """Inputs that get far."""
        return sorted(set(self.read_seeds()))


def first_line(data: bytes) -> tuple[bytes, bytes]:
    """The line that says what the rest is about, and the rest."""
    head, _, rest = data.partition(b"\n")
    return head, rest


def chosen(head: bytes, among: Mapping[str, T]) -> tuple[str, T]:
    """The entry that a head names; any other bytes choose one too, so that no input is wasted."""
    name = head.decode(errors="replace")
    if name not in among:
        name = list(among)[sum(head) % len(among)]
    return name, among[name]


def with_head(name: str, body: str | bytes | Any) -> bytes:
    """An input that `first_line` and `chosen` take apart."""
    return name.encode() + b"\n" + (body if isinstance(body, bytes) else str(body).encode())
