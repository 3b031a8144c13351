"""Executes runs; knows nothing of who asked for them."""

from openai_runs.engine.backends.scripted import ScriptedBackend
from openai_runs.engine.engine import Engine
from openai_runs.engine.errors import ApiError
from openai_runs.engine.records import PageQuery
from openai_runs.engine.store import MemoryStore

__all__ = ["ApiError", "Engine", "MemoryStore", "PageQuery", "ScriptedBackend"]
