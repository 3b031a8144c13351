"""`tell`: who is told that a request goes out."""

from contextlib import suppress

from openai_runs.pacing.sending import tell, told


class Told:
    async def begin(self) -> None:
        """Nothing to note."""

    def settle(self) -> None:
        """Nothing to note."""


def test_only_in_the_block() -> None:
    """Whoever is told inside of a block is not afterwards, however it ends; whoever was told before is again."""
    outer, inner = Told(), Told()
    with tell(outer):
        with suppress(ZeroDivisionError), tell(inner):
            assert told.get() is inner
            raise ZeroDivisionError
        assert told.get() is outer
    assert told.get() is None
