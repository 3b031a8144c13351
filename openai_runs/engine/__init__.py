"""Executes runs; knows nothing of who asked for them."""

from openai_runs.engine.backends.chat_completions import ChatCompletionsBackend
from openai_runs.engine.backends.local_model import LocalModelBackend
from openai_runs.engine.backends.responses import ResponsesBackend
from openai_runs.engine.backends.scripted import Call, Fail, Refuse, Say, ScriptedBackend, Stop, Wait
from openai_runs.engine.clock import ManualClock
from openai_runs.engine.engine import Engine
from openai_runs.engine.errors import ApiError
from openai_runs.engine.published import Listener, Published
from openai_runs.engine.records import PageQuery
from openai_runs.engine.store import MemoryStore, Store

__all__ = [
    "ApiError",
    "Call",
    "ChatCompletionsBackend",
    "Engine",
    "Fail",
    "Listener",
    "LocalModelBackend",
    "ManualClock",
    "MemoryStore",
    "PageQuery",
    "Published",
    "Refuse",
    "ResponsesBackend",
    "Say",
    "ScriptedBackend",
    "Stop",
    "Store",
    "Wait",
]
