"""A store that fails when it is told to, and one that takes its time."""

import anyio

from openai_runs.engine import MemoryStore
from openai_runs.engine.errors import StoreUnavailableError


class FaultyStore(MemoryStore):
    """Takes no commit while it is ``full``."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.refused = 0

    async def commit(self, changes):
        if self.full:
            self.refused += 1
            raise StoreUnavailableError("The disk is full.")
        await super().commit(changes)


class SlowStore(MemoryStore):
    """Needs a few rounds of the event loop for a commit, as a disk does."""

    async def commit(self, changes):
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        await super().commit(changes)
