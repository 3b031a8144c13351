"""`tell`: who is told that a request goes out."""

from contextlib import suppress

import anyio
import pytest

from openai_runs.pacing.sending import FirstSent, tell, told


class Told:
    async def begin(self) -> None:
        """Nothing to note."""

    def settle(self) -> None:
        """Nothing to note."""


@pytest.mark.anyio
async def test_when_it_was_first_sent() -> None:
    """What counts is the first time; before it was sent, what the maker says."""
    sent = FirstSent(1.0)
    assert sent.at == 1.0
    began = anyio.current_time()
    await sent.begin()
    sent.settle()
    await anyio.sleep(5)
    await sent.begin()
    assert sent.at == began


def test_only_in_the_block() -> None:
    """Whoever is told inside of a block is not afterwards, however it ends; whoever was told before is again."""
    outer, inner = Told(), Told()
    with tell(outer):
        with suppress(ZeroDivisionError), tell(inner):
            assert told.get() is inner
            raise ZeroDivisionError
        assert told.get() is outer
    assert told.get() is None
