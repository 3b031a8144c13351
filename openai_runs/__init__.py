"""Runs of the Assistants API, wherever they execute: an asyncio client, and an engine with its own server.

The most used names are here. All models and request parameters are in `openai_runs.models`, all errors in
`openai_runs.errors`, and `LocalServer` is in `openai_runs.server`.

A name is loaded when it is used first, so that a program pays for what it uses.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from openai_runs._wire import dump, load
    from openai_runs.answer_format import AnswerFormat
    from openai_runs.batch import Batch, BatchResult, JobRetries, RunJob, run_batch
    from openai_runs.errors import (
        BadRequestError,
        NotFoundError,
        OpenAIRunsError,
        ProtocolError,
        RateLimitError,
        ResponseError,
        RunError,
        ToolError,
        TransportError,
    )
    from openai_runs.events import (
        ActionRequired,
        PollingTookOver,
        RunEnded,
        RunEvent,
        StatusChanged,
        ToolOutputsSubmitted,
    )
    from openai_runs.following.polling import Polling
    from openai_runs.models.assistant import Assistant
    from openai_runs.models.message import Message
    from openai_runs.models.run import Run, RunStatus
    from openai_runs.models.run_step import RunStep
    from openai_runs.models.thread import Thread
    from openai_runs.models.tool import ToolOutput
    from openai_runs.pacing.rate_limits import RateLimits
    from openai_runs.session import Session
    from openai_runs.toolbox import Toolbox

__version__ = "0.1.0"

__all__ = [
    "ActionRequired",
    "AnswerFormat",
    "Assistant",
    "BadRequestError",
    "Batch",
    "BatchResult",
    "JobRetries",
    "Message",
    "NotFoundError",
    "OpenAIRunsError",
    "Polling",
    "PollingTookOver",
    "ProtocolError",
    "RateLimitError",
    "RateLimits",
    "ResponseError",
    "Run",
    "RunEnded",
    "RunError",
    "RunEvent",
    "RunJob",
    "RunStatus",
    "RunStep",
    "Session",
    "StatusChanged",
    "Thread",
    "ToolError",
    "ToolOutput",
    "ToolOutputsSubmitted",
    "Toolbox",
    "TransportError",
    "__version__",
    "dump",
    "load",
    "run_batch",
]

#: Where each name is, as the imports above tell type checkers.
_HOMES: Final = {
    "ActionRequired": "openai_runs.events",
    "AnswerFormat": "openai_runs.answer_format",
    "Assistant": "openai_runs.models.assistant",
    "BadRequestError": "openai_runs.errors",
    "Batch": "openai_runs.batch",
    "BatchResult": "openai_runs.batch",
    "JobRetries": "openai_runs.batch",
    "Message": "openai_runs.models.message",
    "NotFoundError": "openai_runs.errors",
    "OpenAIRunsError": "openai_runs.errors",
    "Polling": "openai_runs.following.polling",
    "PollingTookOver": "openai_runs.events",
    "ProtocolError": "openai_runs.errors",
    "RateLimitError": "openai_runs.errors",
    "RateLimits": "openai_runs.pacing.rate_limits",
    "ResponseError": "openai_runs.errors",
    "Run": "openai_runs.models.run",
    "RunEnded": "openai_runs.events",
    "RunError": "openai_runs.errors",
    "RunEvent": "openai_runs.events",
    "RunJob": "openai_runs.batch",
    "RunStatus": "openai_runs.models.run",
    "RunStep": "openai_runs.models.run_step",
    "Session": "openai_runs.session",
    "StatusChanged": "openai_runs.events",
    "Thread": "openai_runs.models.thread",
    "ToolError": "openai_runs.errors",
    "ToolOutput": "openai_runs.models.tool",
    "ToolOutputsSubmitted": "openai_runs.events",
    "Toolbox": "openai_runs.toolbox",
    "TransportError": "openai_runs.errors",
    "dump": "openai_runs._wire",
    "load": "openai_runs._wire",
    "run_batch": "openai_runs.batch",
}

if not TYPE_CHECKING:  # to a type checker, `__getattr__` would mean that every name exists

    def __getattr__(name: str) -> object:
        """Load a name, or a public module, when it is used first."""
        if home := _HOMES.get(name):
            value = globals()[name] = getattr(import_module(home), name)
            return value
        if name.startswith("_") or find_spec(f"openai_runs.{name}") is None:
            from openai_runs._extras import no_such_name  # only here, like the next one: programs start faster
            from openai_runs._habits import HOMES

            if name in HOMES:
                raise no_such_name(ImportError(f"write `from {HOMES[name]} import {name}`", name=__name__), name)
            raise AttributeError(f"module 'openai_runs' has no attribute {name!r}", name=name)
        try:
            return import_module(f"openai_runs.{name}")  # which makes it an attribute
        except ModuleNotFoundError as error:  # it needs an extra
            from openai_runs._extras import no_such_name

            raise no_such_name(error, name) from error

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
