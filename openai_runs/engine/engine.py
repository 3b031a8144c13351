"""`Engine`: everything that executes runs, under one roof."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, Self

import anyio
from anyio.abc import TaskGroup, TaskStatus

from openai_runs._arguments import check_count, check_seconds
from openai_runs.backends.model_backend import ModelBackend
from openai_runs.engine.clock import Clock, SystemClock
from openai_runs.engine.executor import Executor
from openai_runs.engine.ledger import Ledger
from openai_runs.engine.resources.assistants import Assistants
from openai_runs.engine.resources.messages import Messages
from openai_runs.engine.resources.run_steps import RunSteps
from openai_runs.engine.resources.runs import Runs
from openai_runs.engine.resources.threads import Threads
from openai_runs.stores.store import Store

_LONGEST: Final = 100 * 365 * 24 * 3600  # seconds; timestamps end with the year 9999


async def _hold(*, task_status: TaskStatus[TaskGroup]) -> None:
    """Keep a task group that can be cancelled without the task that asked for it.

    What the caller does inside the engine is done by the caller's task. Cancelled by us, it might take our cancellation
    for its own: Python 3.11 and 3.12 leave one uncounted where an `asyncio.TaskGroup` has failed.
    """
    async with anyio.create_task_group() as tasks:
        task_status.started(tasks)
        await anyio.sleep_forever()


class Engine(anyio.AsyncContextManagerMixin):
    """Executes runs, and answers for all objects of the API.

    The five resources have a coroutine for each operation of the API. The first argument is always the owner:
    each sees its own objects only. Bodies are JSON objects which are valid by the API document; what is wrong
    with them beyond that is an `ApiError`.

    Used as ``async with Engine(…) as engine:``. It takes up the unfinished runs that it finds in the store. Left, it
    stops the runs that execute; whoever enters the store next goes on with them.

    Attributes:
        clock: What is taken for the time.
        assistants: Operations on assistants.
        threads: Operations on threads.
        messages: Operations on messages.
        runs: Operations on runs.
        run_steps: Operations on run steps.
    """

    def __init__(
        self,
        *,
        store: Store,
        backend: ModelBackend,
        clock: Clock | None = None,
        expires_after: float = 600.0,
        max_active_runs: int = 100,
    ) -> None:
        """Set up; nothing is started.

        Args:
            store: Where everything is kept. It is this engine's alone.
            backend: The model.
            clock: What is taken for the time. Unset: the system's clock.
            expires_after: Seconds from a run's creation to its expiry; waiting for tool outputs counts.
            max_active_runs: How many runs execute at once; the others stay queued, and owners take turns. A run that
                waits for tool outputs does not count.

        Raises:
            TypeError: An argument is not what it should be.
            ValueError: A number makes no sense.
        """
        check_count("max_active_runs", max_active_runs, least=1)
        check_seconds("expires_after", expires_after)
        if expires_after > _LONGEST:
            raise ValueError(
                f"expires_after must be at most {_LONGEST:,} seconds, a hundred years: got {expires_after}"
            )
        for name, value, kind in ("store", store, "SQLiteStore(path)"), ("backend", backend, "ScriptedBackend()"):
            if not hasattr(value, "__aenter__"):
                raise TypeError(f"{name} must be an object, such as {kind}: got {value!r}")
        self.clock: Final[Clock] = clock or SystemClock()
        self._backend = backend
        self._was_entered = False
        self._ledger = Ledger(store, self.clock)
        self._executor = Executor(self._ledger, backend, max_active_runs)
        self.assistants: Final = Assistants(self._ledger)
        self.threads: Final = Threads(self._ledger, self._executor, expires_after)
        self.messages: Final = Messages(self._ledger, self._executor)
        self.runs: Final = Runs(self._ledger, self._executor, expires_after)
        self.run_steps: Final = RunSteps(self._ledger)

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        if self._was_entered:
            raise RuntimeError("an engine runs once; make another one, it may have the same store")
        self._was_entered = True
        failure: Exception | None = None
        async with self._ledger.store, self._backend:
            async with anyio.create_task_group() as around:
                work: TaskGroup = await around.start(_hold)
                try:
                    self._ledger.is_open = True
                    await self._executor.start(work)
                    yield self
                except Exception as error:  # raised again outside: a task group would wrap it in another one
                    failure = error
                finally:
                    work.cancel_scope.cancel()
            self._ledger.is_open = False
        if failure is not None:
            raise failure
