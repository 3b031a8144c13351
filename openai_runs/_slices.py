"""Long work on the event loop, in slices between which everybody else has a turn.

Such work is a generator: it yields wherever it may be interrupted, as often as it likes, and returns its result. (A
thread would not do: parsing, checking and encoding hold the interpreter's lock.)
"""

import asyncio
from collections.abc import Generator
from time import perf_counter
from typing import Final, TypeAlias, TypeVar

T = TypeVar("T")
Work: TypeAlias = Generator[None, None, T]

_SLICE: Final = 0.005  # seconds: several large requests at the same time still leave a pause that nobody notices
_FEW: Final = 100  # steps that take next to no time


def at_once(work: Work[T]) -> T:
    """Do the work without a break, where there is little of it or nobody waits."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result


async def in_turns(work: Work[T]) -> T:
    """Do the work with a break whenever a slice of time is over. Work of less than a slice has none."""
    until = perf_counter() + _SLICE
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        if perf_counter() >= until:
            await asyncio.sleep(0)
            until = perf_counter() + _SLICE


async def in_turns_if_long(work: Work[T], steps: int) -> T:
    """Do the work at once if it has few steps: then it is over when others look, however busy the machine is."""
    return at_once(work) if steps <= _FEW else await in_turns(work)
