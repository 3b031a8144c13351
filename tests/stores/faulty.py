"""A store that fails when it is told to, one that takes its time, and one that does both as it pleases."""

import random
import sqlite3
from contextlib import closing

import anyio

from openai_runs.errors import StoreUnavailableError
from openai_runs.stores import MemoryStore


def damage(path, id, kind=None, body="{half an object"):
    """Write nonsense in place of an object, into a store's file that nobody has open."""
    with closing(sqlite3.connect(path)) as db, db:
        where = "id = ?" if kind is None else f"id = ? AND kind = '{kind}'"
        assert db.execute(f"UPDATE objects SET body = ? WHERE {where}", (body, id)).rowcount == 1


def damage_page_of(path, id, kind):
    """Damage a page of the file: one on which the text of an object goes on, which is a long one without repetitions.

    The page's first four bytes say where the text goes on, and then say nonsense.
    """
    with closing(sqlite3.connect(path)) as db:
        [(body,)] = db.execute("SELECT body FROM objects WHERE id = ? AND kind = ?", (id, kind))
        [(size,)] = db.execute("PRAGMA page_size")
    data = bytearray(path.read_bytes())
    at = data.index(body.encode()[2 * size : 2 * size + 20])
    data[at // size * size : at // size * size + 4] = bytes([255] * 4)
    path.write_bytes(data)


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
