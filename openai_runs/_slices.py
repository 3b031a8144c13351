"""Long work on the event loop, in slices; between two slices other tasks run.

Such work is a generator: it yields wherever it may be interrupted, as often as it likes, and returns its result.
(A thread would not help: parsing, validation and encoding hold the GIL.)
"""

import asyncio
from collections.abc import Generator
from time import perf_counter
from typing import Final, TypeAlias, TypeVar

T = TypeVar("T")
Work: TypeAlias = Generator[None, None, T]

_SLICE: Final = 0.005  # seconds; short enough that several large requests at once cause no noticeable delay
_FEW_STEPS: Final = 100  # steps; this many take a negligible time


def at_once(work: Work[T]) -> T:
    """Do the work without interruption: for little work, or where no other task waits."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result


async def in_slices(work: Work[T]) -> T:
    """Do the work, and let other tasks run after each slice. Work shorter than a slice is not interrupted."""
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


async def in_slices_if_long(work: Work[T], steps: int) -> T:
    """Do the work in slices, or without interruption if it has few steps.

    Then no other task runs before it is done, however slow the machine is.
    """
    return at_once(work) if steps <= _FEW_STEPS else await in_slices(work)
