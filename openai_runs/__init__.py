"""Runs of the Assistants API, wherever they execute: an asyncio client, and an engine with its own server.

The most used names are here. All models and request parameters are in `openai_runs.models`, all errors in
`openai_runs.errors`, and `LocalServer` is in `openai_runs.server`.
"""

from openai_runs._wire import dump, load
from openai_runs.batch import Batch, BatchResult, RunJob, run_batch
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
    "Assistant",
    "BadRequestError",
    "Batch",
    "BatchResult",
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
