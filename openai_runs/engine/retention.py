"""`Retention`: deletes threads that nobody has used for a long time."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

from attrs import define, field

from openai_runs._arguments import check_rate
from openai_runs._evolving import evolve
from openai_runs.engine.audit import By
from openai_runs.engine.errors import ApiError
from openai_runs.engine.executor import Executor
from openai_runs.engine.ledger import Ledger
from openai_runs.engine.new_vector_stores import has_expired
from openai_runs.engine.removal import remove_thread
from openai_runs.errors import StoreDataError, StoreUnavailableError
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.thread import Thread
from openai_runs.models.vector_store import VectorStore
from openai_runs.stores.records import PageQuery, Record, RunState
from openai_runs.stores.store import Store

_logger = logging.getLogger("openai_runs.engine")

_DAY: Final = 24 * 3600.0
#: Seconds between two looks at all threads.
_INTERVAL: Final = 3600.0
#: Threads that are looked at between two breaks.
_STEP: Final = 100
#: Seconds of each break: deleting takes less than half of what the store can do.
_BREAK: Final = 0.02
#: The shortest period: by then, idempotency keys are gone that could bring an object back.
SHORTEST: Final = 1.0


def check_days(name: str, days: float | None) -> None:
    """Check a number of days; ``None`` stands for ever.

    Raises:
        TypeError: It is no number.
        ValueError: It is less than `SHORTEST`, or no finite number.
    """
    check_rate(name, days, none=True)
    if days is not None and days < SHORTEST:
        raise ValueError(f"{name} must be at least {SHORTEST:g} day: got {days:g}")


@define
class Periods:
    """For how long threads are kept. Both may be replaced at any time."""

    days: float | None = None  #: of owners who have none of their own; ``None``: for ever
    by_owner: Mapping[str, float | None] = field(factory=dict)  #: likewise

    def __attrs_post_init__(self) -> None:
        check_days("retention_days", self.days)
        for owner, days in self.by_owner.items():
            check_days(f"the retention of {owner!r}, in days,", days)

    @property
    def delete_nothing(self) -> bool:
        """Whether the threads of all owners are kept for ever."""
        return self.days is None and all(days is None for days in self.by_owner.values())

    def of(self, owner: str) -> float | None:
        """The period of an owner, in days; ``None`` for ever."""
        return self.by_owner.get(owner, self.days)


async def last_use(store: Store, thread: Thread) -> float:
    """When a thread was used last, in Unix seconds: created, or given a message or a run, or when that run ended.

    Who only reads it, or changes its metadata, does not use it.
    """
    latest = PageQuery(limit=1)
    times = [thread.created_at]
    messages, _ = await store.page(Message, thread.id, latest)
    times += [record.value.created_at for record in messages]
    runs, _ = await store.page(Run, thread.id, latest)
    for run in (record.value for record in runs):
        of_run = run.created_at, run.completed_at, run.failed_at, run.cancelled_at
        times += [time for time in of_run if time is not None]
    return max(times).timestamp()


async def has_unfinished_run(store: Store, thread: Thread) -> bool:
    """Whether a thread has a run that is executed, or is to be executed; it is the newest one."""
    runs, _ = await store.page(Run, thread.id, PageQuery(limit=1))
    return any([await store.get(RunState, record.value.id) is not None for record in runs])


@define(eq=False)
class Retention:
    """Looks at all threads again and again, and deletes those that were not used within their owner's period.

    With a thread go the vector stores that it names and that have expired, since nobody can search them any more.
    Others, and files, may be used elsewhere.
    """

    _ledger: Ledger
    _executor: Executor
    _delete_vector_store: Callable[[str, str, By], Awaitable[object]]
    periods: Periods

    async def run(self) -> None:
        """Delete threads until cancelled."""
        clock = self._ledger.clock
        while True:
            try:
                deleted = await self.sweep()
            except StoreUnavailableError:  # which the store has logged
                pass
            except Exception:  # it must not stop the engine
                _logger.exception("threads that are too old cannot be deleted")
            else:
                if deleted:
                    _logger.info("retention has deleted %d thread%s", deleted, "" if deleted == 1 else "s")
            await clock.sleep_until(clock.now() + _INTERVAL)

    async def sweep(self) -> int:
        """Look at all threads once; returns how many were deleted.

        Raises:
            StoreUnavailableError: The store cannot be read or written now.
        """
        if self.periods.delete_nothing:
            return 0
        deleted = 0
        for owner in await self._ledger.store.owners_of_threads():
            if (days := self.periods.of(owner)) is not None:
                deleted += await self._sweep_owner(owner, self._ledger.clock.now() - days * _DAY)
        return deleted

    async def _sweep_owner(self, owner: str, before: float) -> int:
        query, more, deleted = PageQuery(limit=_STEP, order="asc"), True, 0
        while more:
            try:
                records, more = await self._ledger.store.page(Thread, owner, query)
            except StoreDataError as error:  # nobody can list them; the other owners' threads must go nevertheless
                # Without the traceback: the error says all.
                _logger.error("not all threads of %r can be read by retention: %s", owner, error)  # noqa: TRY400
                break
            for record in records:
                query = evolve(query, after=record.value.id)
                if record.value.created_at.timestamp() < before:
                    deleted += await self._remove_if_unused(record, before)
                    await self._pause()
            await self._pause()
        return deleted

    async def _remove_if_unused(self, record: Record[Thread], before: float) -> bool:
        owner, thread = record.owner, record.value
        try:
            async with self._ledger.lock(thread.id):
                if self._executor.active_run(thread.id) is not None:
                    return False
                if await last_use(self._ledger.store, thread) >= before:
                    return False
                if not await remove_thread(self._ledger, owner, thread.id, by=By.RETENTION, pause=self._pause):
                    return False
        except StoreDataError as error:  # the other threads must go nevertheless
            # Without the traceback: the error says all.
            _logger.error("thread %s cannot be read or deleted by retention: %s", thread.id, error)  # noqa: TRY400
            return False
        await self._remove_stores(owner, thread)
        return True

    async def _remove_stores(self, owner: str, thread: Thread) -> None:
        search = None if thread.tool_resources is None else thread.tool_resources.file_search
        for id in () if search is None else search.vector_store_ids:
            record = await self._ledger.store.get(VectorStore, id)
            if record is None or record.owner != owner or not has_expired(record.value, self._ledger.clock.now()):
                continue
            with suppress(ApiError):  # somebody has deleted it just now
                await self._delete_vector_store(owner, id, By.RETENTION)

    async def _pause(self) -> None:
        await self._ledger.clock.sleep_until(self._ledger.clock.now() + _BREAK)
