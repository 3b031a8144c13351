"""A store that fails when it is told to, one that takes its time, and one that does both as it pleases."""

import random

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


class MoodyStore(MemoryStore):
    """Takes now more, now less time for all it does, and fails with some probability."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.failing = 0.0
        self._chance = chance

    async def _dally(self, most):
        for _ in range(self._chance.randrange(most)):
            await anyio.lowlevel.checkpoint()

    async def commit(self, changes):
        await self._dally(6)
        if self._chance.random() < self.failing:
            raise StoreUnavailableError("The disk is full.")
        await super().commit(changes)

    async def get(self, kind, id):
        await self._dally(3)
        return await super().get(kind, id)

    async def page(self, *arguments, **options):
        await self._dally(3)
        return await super().page(*arguments, **options)

    async def history(self, *arguments, **options):
        await self._dally(3)
        return await super().history(*arguments, **options)
