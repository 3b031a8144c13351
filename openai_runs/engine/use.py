"""`Use`: how much of what is limited each owner uses.

All that has to survive a restart comes from the store: tokens from the runs of the day, bytes from threads, messages
and files. It is read when it is first asked for, and kept up from what is committed. Only owners with a limit are
counted.
"""

import math
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from attrs import define, field

from openai_runs import _wire
from openai_runs.engine.executor import Executor
from openai_runs.engine.ledger import Ledger
from openai_runs.engine.limits import OwnerLimits
from openai_runs.engine.use_elsewhere import DAY, Counted, UseElsewhere
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.thread import Thread
from openai_runs.stores.records import Change, Claim, Delete, PageQuery, Record, RunState, SpentTokens
from openai_runs.stores.store import ALL_RUNS, part_for

_PAGE: Final = 100
#: Seconds until what was only changed is counted again: counting takes long where there is much.
_COUNT_AGAIN: Final = 60.0
_ELSEWHERE: Final = ""  # in place of the ID of a run that has ended at another server


@define
class _Bytes:
    """The bytes of an owner's threads and messages."""

    counted_at: float = -math.inf
    at_most: int = 0  # what was counted, and all that was put since, changed ones included
    put: int = 0  # since counting began
    has_deleted: bool = False  # since then


@define(eq=False)
class Use:
    """What owners use; for those who have a limit of it."""

    _ledger: Ledger
    _limits: OwnerLimits
    _executor: Executor
    _file_bytes: Callable[[str], int]  # of an owner
    elsewhere: UseElsewhere  #: what they use at other servers
    _day: float = field(default=0.0, init=False)  # when it began
    _tokens: dict[str, int] = field(factory=dict, init=False)  # of the runs that were created on that day
    _ending: dict[str, dict[str, int]] = field(factory=dict, init=False)  # those of runs that end while others are read
    _bytes: dict[str, _Bytes] = field(factory=dict, init=False)
    _active: dict[str, int] = field(factory=dict, init=False)  # runs that had not ended when that was asked last

    def __attrs_post_init__(self) -> None:
        self.elsewhere.on(Counted.TOKENS, self._add_tokens)
        self.elsewhere.on(Counted.THREAD_BYTES, self._add_bytes)
        self.elsewhere.on(Counted.DELETIONS, self._note_deletions)

    async def active_runs(self, owner: str) -> int:
        """Runs that have not ended.

        Raises:
            StoreUnavailableError: Servers share the store, and it cannot be read now.
        """
        number = self._active[owner] = await self._executor.active_runs(owner)
        return number

    def active_runs_at_hand(self, owner: str) -> int | None:
        """The same; ``None`` or an old number if the store would have to be read, since servers share it."""
        return self._active.get(owner) if self._ledger.sharing is not None else self._executor.active_runs_here(owner)

    def tokens_at_hand(self, owner: str) -> int | None:
        """See `tokens`; ``None`` if they have yet to be read."""
        day = self.day
        if day != self._day:
            self._day = day
            self._tokens.clear()
        return self._tokens.get(owner)

    @property
    def day(self) -> float:
        """When the day has begun, in UTC, as Unix seconds."""
        now = self._ledger.clock.now()
        return now - now % DAY

    @property
    def rest_of_day(self) -> float:
        """Seconds until the next one begins."""
        return self.day + DAY - self._ledger.clock.now()

    async def tokens(self, owner: str) -> int:
        """Tokens of the runs that were created today and have ended.

        Raises:
            StoreError: They cannot be read.
        """
        while (known := self.tokens_at_hand(owner)) is None:
            async with self._ledger.lock(f"tokens of {owner}"):
                if self.tokens_at_hand(owner) is None:
                    await self._read_tokens(owner)
        return known

    async def _read_tokens(self, owner: str) -> None:
        day = self._day
        ending = self._ending[owner] = {}
        try:
            found = {run.id: _tokens_of(run) async for run in self._runs_since(day, "", part_for(owner, ALL_RUNS))}
            spent = await self._spent_since(day, owner)
            found |= ending  # a run may have been read before and after its end
        finally:
            del self._ending[owner]
        if day == self._day:
            self._tokens[owner] = sum(found.values()) + spent

    async def _runs_since(self, day: float, group: str, part: str | None = None) -> AsyncGenerator[Run]:
        """The runs of a list that were created on a day or later, the newest first."""
        since, after, more = datetime.fromtimestamp(day, UTC), None, True
        while more:
            records, more = await self._ledger.store.page(Run, group, PageQuery(limit=_PAGE, after=after), part=part)
            for record in records:
                if record.value.created_at < since:
                    return
                yield record.value
                after = record.value.id

    async def _spent_since(self, day: float, owner: str) -> int:
        """The tokens of threads that were deleted on a day; what is older is forgotten."""
        total, after, more = 0, None, True
        old: list[Change] = []
        while more:
            records, more = await self._ledger.store.page(SpentTokens, owner, PageQuery(limit=_PAGE, after=after))
            for record in records:
                if record.value.day == day:
                    total += record.value.tokens
                else:
                    old.append(Delete(SpentTokens, record.value.id))
                after = record.value.id
        if old:
            await self._ledger.commit(old)
        return total

    async def spent_in(self, owner: str, thread_id: str) -> Sequence[Change]:
        """What has to be stored when a thread is deleted, so that the tokens of its runs go on counting today."""
        if self._limits.of(owner).tokens_per_day is None:
            return ()
        tokens = sum([_tokens_of(run) async for run in self._runs_since(self.day, thread_id)])
        return [Record(owner, SpentTokens(id=thread_id, day=self.day, tokens=tokens))] if tokens else ()

    def bytes_at_hand(self, owner: str) -> int | None:
        """Bytes of threads, messages and files, at most; ``None`` if they have yet to be counted."""
        known = self._bytes.get(owner)
        return None if known is None or known.counted_at == -math.inf else self._file_bytes(owner) + known.at_most

    async def thread_bytes(self, owner: str, enough: int) -> int:
        """Bytes of threads and messages. Fewer than ``enough`` are not counted exactly, and so are more than those.

        The number is never too low, and after a deletion it is counted again before it is found to be ``enough``.

        Raises:
            StoreError: They cannot be read.
        """
        async with self._ledger.lock(f"bytes of {owner}"):
            known = self._bytes.setdefault(owner, _Bytes())
            is_old = known.put and self._ledger.clock.now() - known.counted_at >= _COUNT_AGAIN
            is_new = known.counted_at == -math.inf
            if is_new or (known.at_most >= enough and (known.has_deleted or is_old)):
                known.put, known.has_deleted = 0, False
                known.at_most = await self._ledger.store.count_bytes(owner) + known.put
                known.counted_at = self._ledger.clock.now()
            return known.at_most

    def file_bytes(self, owner: str) -> int:
        """Bytes of files, and of those that are being uploaded."""
        return self._file_bytes(owner)

    def note(self, changes: Sequence[Change]) -> None:
        """Note what has been stored."""
        if not self._limits.are_set:
            return
        ended = {change.id for change in changes if isinstance(change, Delete) and change.kind is RunState}
        for change in changes:
            if isinstance(change, Delete):
                if change.kind is Thread or change.kind is Message:
                    self._note_deletions()
                    self.elsewhere.tell(Counted.DELETIONS, "", 1)
            elif isinstance(change, Claim):
                continue
            elif isinstance(change.value, Thread | Message):
                if self._limits.of(change.owner).stored_bytes is not None or change.owner in self._bytes:
                    size = size_of(change.value)
                    self._add_bytes(change.owner, 0.0, size)
                    self.elsewhere.tell(Counted.THREAD_BYTES, change.owner, size)
            elif isinstance(change.value, Run) and change.value.id in ended:
                self._note_end(change.owner, change.value)

    def _add_bytes(self, owner: str, since: float, number: int) -> None:  # noqa: ARG002  # they stay after the window
        if (known := self._bytes.get(owner)) is not None:
            known.at_most += number
            known.put += number

    def _note_deletions(self, *_: object) -> None:
        for each in self._bytes.values():  # nobody knows here whose it was
            each.has_deleted = True

    def _note_end(self, owner: str, run: Run) -> None:
        self._executor.note_end(run)
        if run.created_at.timestamp() < self.day:
            return
        tokens = _tokens_of(run)
        if self._limits.of(owner).tokens_per_day is not None:
            self.elsewhere.tell(Counted.TOKENS, owner, tokens)
        if (ending := self._ending.get(owner)) is not None:
            ending[run.id] = tokens
        elif (known := self.tokens_at_hand(owner)) is not None:
            self._tokens[owner] = known + tokens

    def _add_tokens(self, owner: str, since: float, number: int) -> None:
        if since != self.day:
            return
        if (ending := self._ending.get(owner)) is not None:  # its runs may be among those that are read, too
            ending[_ELSEWHERE] = ending.get(_ELSEWHERE, 0) + number
        elif (known := self.tokens_at_hand(owner)) is not None:
            self._tokens[owner] = known + number


def size_of(value: Thread | Message) -> int:
    """The bytes of an object in the store."""
    return len(_wire.encode(value))


def _tokens_of(run: Run) -> int:
    # Of a run that has not ended, a part may be known; it counts when the run ends.
    return (
        0 if run.usage is None or not run.status.is_terminal else run.usage.prompt_tokens + run.usage.completion_tokens
    )
