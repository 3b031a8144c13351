"""`Deciding` and `decided`: a decision is made under a lock, and again if another server came in between."""

from typing import Any

import anyio
import pytest

from openai_runs.engine.deciding import Deciding, decided
from openai_runs.errors import ChangedElsewhereError, StoreUnavailableError

pytestmark = pytest.mark.anyio


class Pins:
    """The part of `Sharing` that notes versions."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.pinned: set[str] = set()
        self.reads = 0
        self.failure = failure

    async def pin(self, id: str) -> None:
        self.reads += 1
        await anyio.lowlevel.checkpoint()
        if self.failure is not None:
            raise self.failure
        self.pinned.add(id)

    def is_pinned(self, id: str) -> bool:
        return id in self.pinned

    def forget(self, id: str) -> None:
        self.pinned.discard(id)


def deciding(pins: Any, lock: anyio.Lock, *, keeps: bool = False, is_own: bool = False) -> Deciding:
    return Deciding("t", lock, pins, lambda _: keeps, is_own)


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("is_own", [False, True])
async def test_the_version_is_read_first(keeps: bool, is_own: bool):
    """Each time, but for a thread whose run is executed here; what nobody needs later is forgotten."""
    pins, lock = Pins(), anyio.Lock()
    for _ in range(2):
        async with deciding(pins, lock, keeps=keeps, is_own=is_own):
            assert pins.pinned == {"t"}
            assert lock.locked()
        assert not lock.locked()
        assert pins.is_pinned("t") is keeps
    assert pins.reads == (1 if keeps and is_own else 2)


async def test_a_version_that_cannot_be_read():
    """The lock is free again."""
    lock = anyio.Lock()
    with pytest.raises(StoreUnavailableError):
        async with deciding(Pins(StoreUnavailableError("away")), lock):
            pass
    assert not lock.locked()


async def test_a_decision_that_is_cancelled():
    """While it waits for the version, too."""
    lock = anyio.Lock()
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with deciding(Pins(), lock):
            pass
    assert not lock.locked()


@pytest.mark.parametrize("times", [0, 1, 5])
async def test_it_is_decided_again(times: int):
    """As often as another server comes in between."""
    calls: list[str] = []

    @decided
    async def operation(what: str, *, also: str = "") -> str:
        calls.append(what + also)
        if len(calls) <= times:
            raise ChangedElsewhereError
        return "done"

    assert await operation("a", also="b") == "done"
    assert calls == ["ab"] * (times + 1)


async def test_it_is_given_up():
    """At some time: the caller hears that the store is not available."""

    @decided
    async def operation() -> None:
        raise ChangedElsewhereError

    with pytest.raises(StoreUnavailableError, match="at the same time"):
        await operation()
