"""What an owner uses of what it may, as the console and Prometheus show it."""

from collections.abc import Callable, Sequence

from attrs import frozen

from openai_runs.engine import Engine
from openai_runs.server.gate import Gate


@frozen
class Used:
    """How much of a limit an owner uses."""

    name: str  #: of the limit
    title: str
    used: int
    most: int


def use_of(engine: Engine, gate: Gate, owner: str) -> Sequence[Used]:
    """What an owner uses of each of its limits, as far as that is known without reading the store."""
    limits, use = engine.limits.of(owner), engine.use
    found: tuple[tuple[str, str, int | None, Callable[[], int | None]], ...] = (
        (
            "requests_per_minute",
            "Requests a minute",
            limits.requests_per_minute,
            lambda: gate.requests(owner, limits.requests_per_minute or 1),
        ),
        ("active_runs", "Active runs", limits.active_runs, lambda: use.active_runs_at_hand(owner)),
        ("tokens_per_day", "Tokens today (UTC)", limits.tokens_per_day, lambda: use.tokens_at_hand(owner)),
        ("stored_bytes", "Stored bytes", limits.stored_bytes, lambda: use.bytes_at_hand(owner)),
    )
    return [
        Used(name, title, number, most)
        for name, title, most, used in found
        if most is not None and (number := used()) is not None
    ]


async def read_use(engine: Engine, gate: Gate, owner: str) -> Sequence[Used]:
    """What an owner uses of each of its limits.

    Raises:
        StoreError: It cannot be read.
    """
    limits = engine.limits.of(owner)
    if limits.active_runs is not None:
        await engine.use.active_runs(owner)
    if limits.tokens_per_day is not None:
        await engine.use.tokens(owner)
    if limits.stored_bytes is not None:
        await engine.use.thread_bytes(owner, limits.stored_bytes)
    return use_of(engine, gate, owner)
