"""`Engine`: creates the parts that execute runs, and starts and stops them."""

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Self

import anyio
from anyio.abc import TaskGroup, TaskStatus

from openai_runs import _wire
from openai_runs._arguments import check_count, check_seconds
from openai_runs.backends.model_backend import ModelBackend
from openai_runs.engine.audit import Audit
from openai_runs.engine.clock import Clock, SystemClock
from openai_runs.engine.endpoint_creations import EndpointCreations
from openai_runs.engine.endpoint_objects import EndpointObjects
from openai_runs.engine.endpoint_stores import EndpointStores
from openai_runs.engine.exact_times import ValueT
from openai_runs.engine.executor import Executor
from openai_runs.engine.file_index import FileIndex
from openai_runs.engine.files_endpoint import FilesEndpoint
from openai_runs.engine.guard import Guard
from openai_runs.engine.idempotency import Idempotency
from openai_runs.engine.images import Images
from openai_runs.engine.ingestion import Ingestion
from openai_runs.engine.ledger import Ledger
from openai_runs.engine.limits import OwnerLimits
from openai_runs.engine.observer import Observer
from openai_runs.engine.resources.assistants import Assistants
from openai_runs.engine.resources.files import Files
from openai_runs.engine.resources.messages import Messages
from openai_runs.engine.resources.run_steps import RunSteps
from openai_runs.engine.resources.runs import Runs
from openai_runs.engine.resources.threads import Threads
from openai_runs.engine.resources.vector_store_file_batches import VectorStoreFileBatches
from openai_runs.engine.resources.vector_store_files import VectorStoreFiles
from openai_runs.engine.resources.vector_stores import VectorStores
from openai_runs.engine.retention import Periods, Retention
from openai_runs.engine.thread_stores import OwnStores, StoreMaker, ThreadStores
from openai_runs.engine.turn import UseStores
from openai_runs.engine.use import Use
from openai_runs.engine.use_elsewhere import UseElsewhere
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.run_step import RunStep
from openai_runs.models.thread import Thread
from openai_runs.stores.store import Store

if TYPE_CHECKING:  # loaded only by who uses it
    from openai_runs.telemetry import Telemetry

#: How many runs execute at once, unless told otherwise.
MAX_ACTIVE_RUNS: Final = 100

#: Bytes of one file, unless told otherwise; the limit of the hosted API.
MAX_FILE_BYTES: Final = 512 * 1024 * 1024

_MAX_EXPIRES_AFTER: Final = 100 * 365 * 24 * 3600  # seconds; `datetime` ends with the year 9999


async def _run_cancellable_group(*, task_status: TaskStatus[TaskGroup]) -> None:
    """Run a task group that can be cancelled without cancelling the task that entered the engine.

    The body of ``async with Engine(…)`` runs in the caller's task. A cancellation of ours there could be mistaken for
    the caller's own: Python 3.11 and 3.12 do not count one where an `asyncio.TaskGroup` has failed.
    """
    async with anyio.create_task_group() as tasks:
        task_status.started(tasks)
        await anyio.sleep_forever()


class Engine(anyio.AsyncContextManagerMixin):
    """Executes runs, and implements all operations of the API.

    The resources have a coroutine for each operation of the API. The first argument is always the owner; an
    owner sees only its own objects. Bodies are JSON objects that are valid by the API's schema; other mistakes in them
    raise `ApiError`.

    Use it as ``async with Engine(…) as engine:``. On entry it resumes the unfinished runs in the store. On exit it
    stops the runs that are executing; the next engine on the store resumes them.

    Attributes:
        clock: Where it gets the time.
        assistants: Operations on assistants.
        threads: Operations on threads.
        messages: Operations on messages.
        runs: Operations on runs.
        run_steps: Operations on run steps.
        files: Operations on files.
        vector_stores: Operations on vector stores.
        vector_store_files: Operations on the files in them.
        vector_store_file_batches: Operations on batches of such files.
        idempotency: Carries requests with idempotency keys out once.
        endpoint_objects: Whose the files and vector stores at the endpoint are; ``None`` if they are the engine's own.
        endpoint_creations: Requests that create one, likewise.
        limits: How much an owner may take.
        use: How much of it the owners use.
    """

    def __init__(
        self,
        *,
        store: Store,
        backend: ModelBackend,
        clock: Clock | None = None,
        expires_after: float = 600.0,
        max_active_runs: int = MAX_ACTIVE_RUNS,
        owner_share: int | None = None,
        max_file_bytes: int = MAX_FILE_BYTES,
        max_owner_bytes: int | None = None,
        limits: OwnerLimits | None = None,
        index: FileIndex | None = None,
        why_no_index: str = "",
        files_endpoint: FilesEndpoint | None = None,
        has_one_owner: bool = False,
        telemetry: "Telemetry | None" = None,
        observers: Sequence[Observer] = (),
        retention: Periods | None = None,
        audit: Audit | None = None,
    ) -> None:
        """Create the engine; nothing is started yet.

        Args:
            store: Where all objects are kept. No other engine may use it at the same time.
            backend: How models are called.
            clock: Where it gets the time. Unset: the system's clock.
            expires_after: Seconds from a run's creation to its expiry; waiting for tool outputs counts.
            max_active_runs: How many runs execute at once; the others stay queued, and owners are served in rotation. A
                run that waits for tool outputs does not count.
            owner_share: How many of them may be of one owner when another owner's run waits for its place; a model call
                that has begun is not interrupted. Unset: half of them, rounded up. An owner alone may have all.
            max_file_bytes: The size of the largest file that can be uploaded.
            max_owner_bytes: How many bytes the files of one owner may have together. Unset: no limit.
            limits: How much of all else one owner may take. Unset: as much as it likes.
            index: Reads the files in vector stores, and searches in them. Unset: none can be read. It must be open as
                long as the engine is.
            why_no_index: What somebody can do so that there is an ``index``, as a sentence. Whoever needs it is told.
            files_endpoint: Has the files and vector stores that runs use, in place of the engine. ``index`` is not
                asked then.
            has_one_owner: Whether all that is at ``files_endpoint`` belongs to whoever asks. If not, an owner may use
                what it has created there.
            telemetry: Records runs and model calls by OpenTelemetry. Unset: nothing is recorded.
            observers: Others who are told of runs and model calls.
            retention: For how long threads are kept that nobody uses. Unset: for ever.
            audit: Is told of each deletion.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: A number is out of range.
        """
        check_count("max_active_runs", max_active_runs, least=1)
        if owner_share is not None:
            check_count("owner_share", owner_share, least=1)
        check_count("max_file_bytes", max_file_bytes, least=1)
        if max_owner_bytes is not None:
            check_count("max_owner_bytes", max_owner_bytes, least=0)
        check_seconds("expires_after", expires_after)
        if expires_after > _MAX_EXPIRES_AFTER:
            raise ValueError(
                f"expires_after must be at most {_MAX_EXPIRES_AFTER:,} seconds, a hundred years: got {expires_after}"
            )
        for name, value, kind in ("store", store, "SQLiteStore(path)"), ("backend", backend, "ScriptedBackend()"):
            if not hasattr(value, "__aenter__"):
                raise TypeError(f"{name} must be an object, such as {kind}: got {value!r}")
        self.clock: Final[Clock] = clock or SystemClock()
        self._backend = backend
        self._was_entered = False
        if telemetry is not None:
            from openai_runs.engine.run_telemetry import RunTelemetry  # only here: it loads OpenTelemetry
            from openai_runs.telemetry import check_telemetry

            check_telemetry(telemetry)
            backend.observe(telemetry)
            observers = (*observers, RunTelemetry(telemetry, backend.provider))
        self._ledger = Ledger(store, self.clock, observers=observers, audit=audit)
        share = math.ceil(max_active_runs / 2) if owner_share is None else owner_share
        self._ingestion = Ingestion(self._ledger, index, why_no_index)
        elsewhere = UseElsewhere(self._ledger)
        self.files: Final = Files(
            self._ledger, max_file_bytes, max_owner_bytes, self._ingestion.detach_everywhere, elsewhere
        )
        self.endpoint_objects: Final = (
            None if files_endpoint is None else EndpointObjects(self._ledger, files_endpoint, has_one_owner)
        )
        self.endpoint_creations: Final = (
            None if self.endpoint_objects is None else EndpointCreations(self._ledger, self.endpoint_objects)
        )
        parts = self._ledger, self._ingestion, self.files.find
        self.vector_stores: Final = VectorStores(*parts)
        self.vector_store_files: Final = VectorStoreFiles(*parts)
        self.vector_store_file_batches: Final = VectorStoreFileBatches(*parts)
        maker: StoreMaker = OwnStores(self._ingestion, self.vector_stores.new, self.files.find)
        use_in_run: UseStores = self._ingestion.use_in_run
        if self.endpoint_objects is not None:
            maker, use_in_run = EndpointStores(self.endpoint_objects), self.endpoint_objects.use_in_run
        images = Images(self._ledger, self.files.find, self.endpoint_objects)
        self._executor = Executor(self._ledger, backend, use_in_run, images.shown, max_active_runs, share, why_no_index)
        self.limits: Final = OwnerLimits() if limits is None else limits
        self.use: Final = Use(self._ledger, self.limits, self._executor, self.files.used, elsewhere)
        guard = Guard(self.limits, self.use)
        self._ledger.count, self.files.room = self.use.note, guard.room_for_files
        stores = ThreadStores(maker)
        self.assistants: Final = Assistants(self._ledger, stores)
        self.threads: Final = Threads(self._ledger, self._executor, stores, guard, self.use, expires_after)
        self.messages: Final = Messages(self._ledger, self._executor, stores, guard)
        self.runs: Final = Runs(self._ledger, self._executor, stores, guard, expires_after)
        self.run_steps: Final = RunSteps(self._ledger)
        self._retention = (
            None if retention is None else Retention(self._ledger, self._executor, self.vector_stores.delete, retention)
        )
        self.idempotency: Final = Idempotency(self._ledger, looks_first=files_endpoint is not None)

    def json(self, value: Run | Message | RunStep | Thread) -> bytes:
        """The JSON text of an object; as a rule the store has it, and it need not be encoded again."""
        return self._ledger.store.text_of(value) or _wire.encode(value)

    def with_exact_times(self, value: ValueT) -> ValueT:
        """A run or a step with fractions of seconds in its times, if this engine has seen it begin and still knows."""
        return self._ledger.exact_times.of(value)

    @property
    def load(self) -> tuple[int, int]:
        """How many runs execute, and how many are queued."""
        return self._executor.load

    @property
    def secret(self) -> bytes:
        """What this engine and the others on its store know, and nobody else: for tokens that all of them take."""
        return self._ledger.secret

    @property
    def has_several_owners(self) -> bool:
        """Whether several owners use it, whose work then goes on in turns."""
        return self._ledger.going_on.is_shared

    @has_several_owners.setter
    def has_several_owners(self, several: bool) -> None:
        self._ledger.going_on.is_shared = several

    @property
    def is_audited(self) -> bool:
        """Whether deletions are told to an `Audit`."""
        return self._ledger.audit is not None

    async def hand_over(self) -> None:
        """Let other servers go on with the runs that execute here, if the store is shared; nothing more executes.

        For a server that is about to stop, and still answers requests.
        """
        await self._executor.hand_over()

    async def check_store(self) -> None:
        """Write to the store, and leave nothing behind, to see whether new work can be kept.

        Raises:
            StoreError: It cannot.
            RuntimeError: The engine is not running.
        """
        await self._ledger.check()

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        if self._was_entered:
            raise RuntimeError("an engine can be entered once: create another one, with the same store if you like")
        self._was_entered = True
        failure: Exception | None = None
        async with self._ledger.store, self._backend:
            async with anyio.create_task_group() as outer:
                tasks: TaskGroup = await outer.start(_run_cancellable_group)
                try:
                    self._ledger.is_open = True
                    self.use.elsewhere.start()
                    await self.files.start(tasks)
                    await self._ingestion.start(tasks)
                    await self._executor.start(tasks)
                    tasks.start_soon(self.idempotency.sweep)
                    if self._retention is not None:
                        tasks.start_soon(self._retention.run)
                    yield self
                except Exception as error:  # raised after the group, which would wrap it in an ExceptionGroup
                    failure = error
                finally:
                    self._ledger.store.stop_waiting()  # tasks end when what they commit has ended
                    tasks.cancel_scope.cancel()
            self._ledger.is_open = False
            for observer in self._ledger.observers:
                observer.close()
        if failure is not None:
            raise failure
