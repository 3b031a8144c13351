"""Executes runs. It knows nothing of HTTP or of clients."""

from openai_runs.engine.api_events import ApiEvent, Subscriber, Watcher
from openai_runs.engine.clock import ManualClock
from openai_runs.engine.engine import Engine
from openai_runs.engine.errors import ApiError
from openai_runs.engine.writing import Writing

__all__ = ["ApiError", "ApiEvent", "Engine", "ManualClock", "Subscriber", "Watcher", "Writing"]
