"""`tell`: who is told that a request goes out."""

from contextlib import suppress

import anyio
import pytest

from openai_runs.pacing.sending import FirstSent, tell, told


class Told:
    def __init__(self, name: str, heard: list[str]) -> None:
        self.name, self.heard = name, heard

    async def begin(self) -> None:
        self.heard.append(f"{self.name} begins")

    def settle(self) -> None:
        self.heard.append(f"{self.name} settles")


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


@pytest.mark.anyio
async def test_only_in_the_block() -> None:
    """Whoever is told inside of a block is not afterwards, however it ends; whoever is told around it is, too."""
    heard: list[str] = []
    with tell(Told("outer", heard)):
        with suppress(ZeroDivisionError), tell(Told("inner", heard)):
            await send()
            raise ZeroDivisionError
        await send()
    assert heard == ["outer begins", "inner begins", "outer settles", "inner settles", "outer begins", "outer settles"]
    assert told.get() is None


async def send() -> None:
    """Send a request, as far as `told` is concerned."""
    sending = told.get()
    assert sending is not None
    await sending.begin()
    sending.settle()
