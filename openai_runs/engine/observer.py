"""`Observer`: what the engine tells about runs and model calls, to whoever records or counts them.

An engine without observers does nothing for this: each place asks first whether there is one.
"""

from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, aclosing, contextmanager, nullcontext
from functools import partial
from typing import Final, Protocol, TypeAlias

from openai_runs.backends.model_backend import (
    BackendEvent,
    HostedToolCall,
    ModelRequest,
    RefusalChunk,
    TextChunk,
    ToolCallChunk,
)
from openai_runs.engine.errors import AbandonedError
from openai_runs.engine.turn_output import TurnProgress
from openai_runs.errors import BackendError, StoreError
from openai_runs.models.run import Run
from openai_runs.stores.records import RunState

Events: TypeAlias = AsyncGenerator[BackendEvent]
#: Called with each piece of an answer.
Note: TypeAlias = Callable[[BackendEvent], object]

_ANSWERS: Final = (TextChunk, RefusalChunk, ToolCallChunk, HostedToolCall)
_ERROR_CODES: Final = ("server_error", "rate_limit_exceeded", "invalid_prompt")


class Observer(Protocol):
    """Records or counts what happens in an engine. Its methods do no I/O, and are quick."""

    def run_resumed(self, run: Run, state: RunState | None) -> None:
        """The engine has found an unfinished run in the store, where an earlier engine has left it.

        Args:
            run: The run.
            state: Its state, if that can be read.
        """
        ...

    def run_changed(self, run: Run, state: RunState | None) -> None:
        """A run was stored; its status need not have changed.

        Args:
            run: The run.
            state: Its state, if that was stored with it, as it is when the run is created.
        """
        ...

    def run_left(self, run_id: str) -> None:
        """Another server executes a run from now on, or has ended it: nothing more of it is told here."""
        ...

    def committed(self, seconds: float) -> None:
        """The store has committed a change."""
        ...

    def executing(self, run_id: str) -> AbstractContextManager[object]:
        """A context for one turn of a run, in a task of its own."""
        ...

    def model_call(self, request: ModelRequest, progress: TurnProgress) -> AbstractContextManager[Note]:
        """A context for one model call; what it returns is called with each piece of the answer.

        Args:
            request: What the model is given.
            progress: At the end it has the usage and the reason why the model stopped.
        """
        ...

    def close(self) -> None:
        """The engine has stopped; the runs that are left go on with the next one."""
        ...


def executing(observers: Sequence[Observer], run_id: str) -> AbstractContextManager[object]:
    """The contexts of all observers for a turn."""
    if not observers:
        return nullcontext()
    with ExitStack() as stack:
        for observer in observers:
            stack.enter_context(observer.executing(run_id))
        return stack.pop_all()


@contextmanager
def model_call(
    observers: Sequence[Observer], request: ModelRequest, progress: TurnProgress
) -> Generator[Callable[[Events], Events]]:
    """The contexts of all observers for a model call, and what its events have to pass through."""
    with ExitStack() as stack:
        notes = [stack.enter_context(observer.model_call(request, progress)) for observer in observers]
        yield partial(_noted, notes)


async def _noted(notes: Sequence[Note], events: Events) -> Events:
    async with aclosing(events):
        async for event in events:
            if isinstance(event, _ANSWERS):
                for note in notes:
                    note(event)
            yield event


def error_code(error: BackendError) -> str:
    """The code of a backend's error; a backend by a user may have any other value, which clients could not read."""
    return error.code if error.code in _ERROR_CODES else "server_error"


def call_failure(error: BaseException | None) -> str | None:
    """Why a model call has failed; ``None`` if it has not, or if it was given up because the run was ended."""
    if isinstance(error, BackendError):
        return error_code(error)
    return (
        "server_error" if isinstance(error, Exception) and not isinstance(error, AbandonedError | StoreError) else None
    )
