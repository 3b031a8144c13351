"""`Engine`: everything that executes runs, under one roof."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

from anyio import AsyncContextManagerMixin
from attrs import frozen

from openai_runs.engine.backends import ModelBackend
from openai_runs.engine.clock import Clock
from openai_runs.engine.resources.assistants import Assistants
from openai_runs.engine.resources.messages import Messages
from openai_runs.engine.resources.run_steps import RunSteps
from openai_runs.engine.resources.runs import Runs
from openai_runs.engine.resources.threads import Threads
from openai_runs.engine.store import Store
from openai_runs.models.model import Model


@frozen
class Published:
    """A stream event of the API: its name, and its object (deltas as JSON objects)."""

    name: str
    data: Model | Mapping[str, Any]


class Engine(AsyncContextManagerMixin):
    """Executes runs.

    Use it as ``async with Engine(store=…, backend=…) as engine``.
    """

    def __init__(
        self,
        *,
        store: Store,
        backend: ModelBackend,
        clock: Clock | None = None,
        expires_after: float = 600.0,
        max_active_runs: int = 128,
        on_events: Callable[[str, Sequence[Published]], None] | None = None,
    ) -> None:
        self.assistants = Assistants()
        self.threads = Threads()
        self.messages = Messages()
        self.runs = Runs()
        self.run_steps = RunSteps()

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        yield self
