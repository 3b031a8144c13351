"""Stores that fail on request, are slow, fail at random, or have damaged objects; and ways to damage a store's file."""

import random
import sqlite3
from contextlib import closing

import anyio

from openai_runs.errors import StoreDataError, StoreUnavailableError
from openai_runs.stores import MemoryStore


def damage(path, id, kind=None, body="{half an object"):
    """Replace an object by invalid JSON, in a store's file that is not open."""
    with closing(sqlite3.connect(path)) as db, db:
        where = "id = ?" if kind is None else f"id = ? AND kind = '{kind}'"
        assert db.execute(f"UPDATE objects SET body = ? WHERE {where}", (body, id)).rowcount == 1


def damage_page_of(path, id, kind):
    """Damage an overflow page of an object, which must be long and without repetitions.

    The first four bytes of the page are the number of the next one, and become an invalid number.
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
    """Takes a random time for each operation, and fails commits with a given probability."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.failing = 0.0
        self._chance = chance

    async def _delay(self, most):
        for _ in range(self._chance.randrange(most)):
            await anyio.lowlevel.checkpoint()

    async def commit(self, changes):
        await self._delay(6)
        if self._chance.random() < self.failing:
            raise StoreUnavailableError("The disk is full.")
        await super().commit(changes)

    async def get(self, kind, id):
        await self._delay(3)
        return await super().get(kind, id)

    async def page(self, *arguments, **options):
        await self._delay(3)
        return await super().page(*arguments, **options)

    async def history(self, *arguments, **options):
        await self._delay(3)
        return await super().history(*arguments, **options)


class DamagedStore(MemoryStore):
    """Raises ``error`` for objects of some kinds, of the runs in ``hurt``."""

    def __init__(self, *, reading=(), writing=(), error=None):
        super().__init__()
        self.reading, self.writing = reading, writing
        self.error = error or StoreDataError("Part of the store is damaged.")
        self.hurt = set()  # by IDs of runs

    def _concerns(self, value):
        return getattr(value, "run_id", None) in self.hurt or value.id in self.hurt

    async def get(self, kind, id):
        found = await super().get(kind, id)
        if found is not None and kind in self.reading and self._concerns(found.value):
            raise self.error
        return found

    async def page(self, kind, group, query, *, part=None):
        if kind in self.reading and group in self.hurt:
            raise self.error
        return await super().page(kind, group, query, part=part)

    async def history(self, thread_id, *, last_messages=None, besides_run=""):
        if besides_run in self.hurt and "history" in self.reading:
            raise self.error
        return await super().history(thread_id, last_messages=last_messages, besides_run=besides_run)

    async def commit(self, changes):
        values = [getattr(change, "value", None) for change in changes]
        if any(value is not None and type(value) in self.writing and self._concerns(value) for value in values):
            raise self.error
        await super().commit(changes)
