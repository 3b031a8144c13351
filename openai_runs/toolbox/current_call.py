"""`current_call`: which call a tool is answering, for tools that have to recognize a repetition."""

import hashlib
from contextvars import ContextVar
from typing import Final

from attrs import frozen

from openai_runs.toolbox.memory import Key

_current: Final[ContextVar["CurrentCall | None"]] = ContextVar("_current", default=None)


@frozen
class CurrentCall:
    """The call that a tool is answering."""

    id: str  #: the tool call's ID; some endpoints use the same ones in each run
    run_id: str | None  #: the run that called, if it is known
    #: The same whenever this call is answered again, in any process, and another one for any other call, also where the
    #: endpoint uses the same `id` in each run. Hand it on as an idempotency key, or store it with what the tool does.
    idempotency_key: str


def current_call() -> CurrentCall:
    """The call that the tool is answering from which this is called, in its task or thread.

    Raises:
        RuntimeError: No tool is being called.
    """
    if (call := _current.get()) is None:
        raise RuntimeError("current_call() is for tools: a toolbox is calling none here")
    return call


def begin_call(key: Key) -> None:
    """Note which call the current task answers, for what it runs."""
    run_id, id, _, _ = key
    # `repr` separates the parts: it escapes the quotes in them.
    digest = hashlib.blake2b(repr(key).encode(), digest_size=24).hexdigest()
    _current.set(CurrentCall(id, run_id, digest))
