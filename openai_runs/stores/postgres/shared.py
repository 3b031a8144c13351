# ruff: noqa: S608  # only constants of the package are put into SQL
"""`SharedPostgresStore`: a `PostgresStore` that several servers have open at once.

Nothing is locked between requests. Whoever decides something about a thread reads the version of the thread first, and
the commit says it: if another server has committed something there meanwhile, nothing is stored, and it is decided
again. What a server knows of the threads whose runs it executes need not be read again: it is of the version that its
next commit says. Everything else is read from the database each time.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from time import monotonic
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from openai_runs._extras import needs
from openai_runs._finishing import finish
from openai_runs._postgres import CONNECT_ARGS
from openai_runs.errors import ChangedElsewhereError, StoreUnavailableError
from openai_runs.models.assistant import Assistant
from openai_runs.models.file import File
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.run_step import RunStep
from openai_runs.models.thread import Thread
from openai_runs.models.vector_store import VectorStore
from openai_runs.stores.postgres import jobs, schema
from openai_runs.stores.postgres.grouped_reads import GroupedReads
from openai_runs.stores.postgres.lease import LEASE, Lease
from openai_runs.stores.postgres.relay import PostgresRelay
from openai_runs.stores.postgres.session import WAS_LATE
from openai_runs.stores.postgres.store import PostgresStore, as_text
from openai_runs.stores.postgres.use import READ, SharedUse
from openai_runs.stores.records import Change, Claim, Delete, IndexJob, Record, RunState, Stored
from openai_runs.stores.sharing import ActiveRun, ClaimedRun, Listener, UseListener
from openai_runs.stores.table_rows import NAMES, ChangedRow

with needs("postgres"):
    import psycopg

T = TypeVar("T", bound=Stored)

_logger = logging.getLogger("openai_runs.stores")

_OF_THREADS: Final = (Thread, Message, Run, RunStep, RunState)
_SCOPES: Final = (Thread, Assistant, VectorStore, File)

_PIN: Final = f"""
    SELECT o.id, o.version, a.run, a.server, a.reader FROM unnest(%(ids)s::text[]) AS wanted (id)
    JOIN openai_runs_objects o ON o.kind IN ({", ".join(f"'{name}'" for name in schema.SCOPES)}) AND o.id = wanted.id
    LEFT JOIN LATERAL (
        SELECT run, server, reader FROM openai_runs_active WHERE thread = o.id ORDER BY place LIMIT 1
    ) a ON true
"""
_ACTIVE_OF: Final = "SELECT run FROM openai_runs_active WHERE owner = %(owner)s ORDER BY place"
_COUNT_MESSAGES: Final = """
    SELECT count(*) FROM (
        SELECT FROM openai_runs_objects WHERE kind = 'message' AND list = %(thread_id)s LIMIT %(enough)s
    ) found
"""


class _Pin(NamedTuple):
    """What is read of something that is pinned."""

    version: int
    run_id: str | None  #: of the unfinished run, if it is a thread that has one
    server: int | None
    reader: int | None


class SharedPostgresStore(PostgresStore):
    """A `PostgresStore` that several servers have open at once; each run is executed by one of them.

    It implements `Sharing`. See `PostgresStore` for its arguments.
    """

    _is_shared = True

    def __init__(self, *args: Any, lease: float = LEASE, **options: Any) -> None:
        """Create the store; nothing is connected yet.

        Args:
            *args: See `PostgresStore`.
            lease: Seconds after which the others take over the runs of a server that has gone silent. Each server
                renews its lease nine times in that time.
            **options: See `PostgresStore`.
        """
        super().__init__(*args, **options)
        self._use = SharedUse(lease)
        self._lease = Lease(self._connect, self._rejoin, self._lose, self._use, seconds=lease)
        self._relay = PostgresRelay(self._url, on_message=self._hear, on_gap=self._miss)
        self._pins = GroupedReads(self._read_pins)
        self._listeners: list[Listener] = []
        self._versions: dict[str, int] = {}  # of what is pinned; 0 of what does not exist yet
        self._active: dict[str, ActiveRun] = {}  # by thread, as of the pin

    @property
    def sharing(self) -> "SharedPostgresStore":
        """This store."""
        return self

    # As a server among others

    @property
    def epoch(self) -> int:
        """See `Sharing`."""
        return self._lease.epoch

    @property
    def secret(self) -> bytes:
        """See `Sharing`."""
        return self._opened().secret

    @property
    def is_valid(self) -> bool:
        """See `Sharing`."""
        return self._lease.is_valid

    def listen(self, listener: Listener) -> None:
        """See `Sharing`."""
        self._listeners.append(listener)

    async def _open(self) -> None:
        await super()._open()
        session = self._opened()
        try:
            read_at = monotonic()
            self._use.open(session.epoch, await self._read(READ, {}), read_at)
            await self._relay.open(session.epoch)
        except BaseException:
            await finish(super()._shut())
            raise
        self._era = session.epoch
        self._lease.open(session.epoch)

    async def _shut(self) -> None:
        await self._lease.close()
        self._listeners.clear()  # of the engine that leaves; the next one brings its own
        self._use.listener = None
        self.broadcast(["work"])  # the runs that were executed here
        await self._relay.close()
        await self._pins.close()
        await super()._shut()

    async def _connect(self) -> "psycopg.AsyncConnection[Any]":
        options: dict[str, Any] = {**CONNECT_ARGS, "application_name": "openai-runs", "client_encoding": "utf8"}
        connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True, **options)
        try:
            await connection.execute(schema.SET_UP)
        except BaseException:
            await finish(connection.close())
            raise
        return connection

    def _lose(self) -> None:
        for listener in self._listeners:
            listener.lost()

    async def _rejoin(self) -> int:
        epoch = await self._opened().rejoin(self._end_era)
        await self._relay.change(epoch)
        self._era = epoch
        _logger.warning("%r: this server goes on as server %d", self, epoch)
        return epoch

    def _end_era(self) -> None:
        self._era = -1
        self._refuse_waiting(StoreUnavailableError(WAS_LATE))
        for id in list(self._versions):
            self.forget(id)

    def _hear(self, sender: int, message: Any) -> None:
        for listener in self._listeners:
            listener.heard(sender, message)

    def _miss(self, sender: int | None) -> None:
        for listener in self._listeners:
            listener.missed(sender)

    def send(self, to: int, message: Any) -> None:
        """See `Sharing`."""
        self._relay.send(to, message)

    def broadcast(self, message: Any) -> None:
        """See `Sharing`."""
        self._relay.broadcast(message)

    async def claim(self, most: int) -> Sequence[ClaimedRun]:
        """See `Sharing`."""
        return await self._lease.claim(most)

    async def claim_due(self, now: float, most: int) -> Sequence[ClaimedRun]:
        """See `Sharing`."""
        return await self._lease.claim_due(now, most)

    async def hand_over(self) -> None:
        """See `Sharing`."""
        await self.commit(())  # once it is made, so is all that was begun before, by the server that has the runs
        await self._lease.hand_over()
        self.broadcast(["work"])

    async def bury(self) -> bool:
        """See `Sharing`."""
        return await self._lease.bury()

    def add_use(self, what: str, owner: str, since: float, lasts: float, number: int) -> None:
        """See `Sharing`."""
        self._use.add(what, owner, since, lasts, number)

    def use_elsewhere(self, what: str, owner: str) -> Mapping[float, int]:
        """See `Sharing`."""
        return self._use.elsewhere(what, owner)

    def hear_use(self, listener: UseListener) -> None:
        """See `Sharing`."""
        self._use.listener = listener

    async def claim_jobs(self, but: Collection[str]) -> str | None:
        """See `Sharing`."""
        epoch = self.epoch
        found = await self._read(jobs.CLAIM, {"epoch": epoch, "but": list(but)}) if self.is_valid else []
        return found[0][0] if found and self.is_valid and self.epoch == epoch else None

    async def release_jobs(self, vector_store_id: str) -> None:
        """See `Sharing`."""
        await self._read(jobs.RELEASE, {"epoch": self.epoch, "vector_store": vector_store_id})

    async def active_of(self, owner: str) -> Sequence[str]:
        """See `Sharing`."""
        return [run_id for (run_id,) in await self._read(_ACTIVE_OF, {"owner": as_text(owner)})]

    # Versions

    async def pin(self, id: str) -> None:
        """See `Sharing`."""
        found = await self._pins.read(id) if as_text(id) is not None else None
        version, run_id, server, reader = found or (0, None, None, None)
        if self._versions.get(id) != version:
            self.forget(id)
        self._versions[id] = version
        if run_id is None:
            self._active.pop(id, None)
        else:
            self._active[id] = ActiveRun(run_id, server, reader)

    def pin_new(self, id: str) -> None:
        """See `Sharing`."""
        self._versions[id] = 0

    async def _read_pins(self, ids: Sequence[str]) -> Mapping[str, _Pin]:
        return {id: _Pin(*rest) for id, *rest in await self._read(_PIN, {"ids": list(ids)})}

    def is_pinned(self, id: str) -> bool:
        """See `Sharing`."""
        return id in self._versions

    def forget(self, id: str) -> None:
        """See `Sharing`."""
        self._versions.pop(id, None)
        self._active.pop(id, None)
        self._cached += 1  # what is being read now may be older than what is pinned next
        for kind in _SCOPES:
            self._cache.drop(kind, id)

    def active_run(self, thread_id: str) -> ActiveRun | None:
        """See `Sharing`."""
        return self._active.get(thread_id)

    async def _write_rows(self, index: str, bodies: bytes, commits: Sequence[Sequence[ChangedRow]], era: int) -> None:
        session = self._opened()
        scopes = {scope: self._versions.get(scope[1]) for commit in commits for scope in _scopes_of(commit)}
        text = msgspec.json.encode([(*scope, version or None) for scope, version in scopes.items()]).decode()
        try:
            await session.write(index, bodies, text, era)
        except ChangedElsewhereError:
            if len(commits) == 1:
                for _, id in scopes:
                    self.forget(id)
            raise
        except StoreUnavailableError:
            if session.is_lost:
                self._lease.check_now()
            raise
        put = {row.columns[:2] for commit in commits for row in commit if row.body is not None}
        for scope, version in scopes.items():
            if version:
                self._versions[scope[1]] = version + 1
            elif version == 0 and scope in put:  # it is new
                self._versions[scope[1]] = 1

    def _version_of(self, thread_id: str) -> int | None:
        return self._versions.get(thread_id)

    # Reading

    async def get(self, kind: type[T], id: str) -> Record[T] | None:
        """Read an object from the database, since another server may have changed it.

        Raises:
            StoreUnavailableError: The store cannot be read now.
            StoreDataError: Part of it is damaged, or too large.
        """
        return await self._fetch(kind, id)

    async def known(self, kind: type[T], id: str) -> Record[T] | None:
        """Read an object of a thread that is pinned: as it was then, or as this server has changed it.

        Raises:
            StoreUnavailableError: The store cannot be read now.
            StoreDataError: Part of it is damaged, or too large.
        """
        cached = self._cache.get(kind, id) if kind in _OF_THREADS else None
        return cached or await self._fetch(kind, id)

    def _cached_record(self, kind: type[T], id: str) -> Record[T] | None:  # noqa: ARG002  # it may be an old one
        return None

    async def count_messages(self, thread_id: str, enough: int) -> int:
        """Count the messages of a thread, as far as it matters.

        Raises:
            StoreUnavailableError: The store cannot be read now.
        """
        [(number,)] = await self._read(_COUNT_MESSAGES, {"thread_id": thread_id, "enough": enough})
        return int(number) if number < enough else await self._count_messages(thread_id)


def _scopes_of(commit: Sequence[ChangedRow]) -> "Sequence[tuple[str, str]]":
    return [scope for row in commit if (scope := _scope_of(row.change)) is not None]


def _scope_of(change: Change) -> tuple[str, str] | None:
    """What a change belongs to: the kind and the ID of a row with a version."""
    if isinstance(change, Claim):
        return None
    if isinstance(change, Delete):  # of parts: other changes of the same commit say what they are parts of
        return (NAMES[change.kind], change.id) if change.kind in _SCOPES else None
    value = change.value
    if isinstance(value, _SCOPES):
        return NAMES[value.__class__], value.id
    if isinstance(value, Message | Run | RunStep | RunState):
        return "thread", value.thread_id
    store_id = None if isinstance(value, IndexJob) else getattr(value, "vector_store_id", None)
    return None if store_id is None else ("vector_store", store_id)
