"""The models that can execute a run: a scripted one, live endpoints, and a small real one on this machine.

The protocol for writing another backend, and its events, are in `openai_runs.backends.model_backend`.
"""

from openai_runs.backends.chat_completions import ChatCompletionsBackend
from openai_runs.backends.local_model import LocalModelBackend
from openai_runs.backends.model_backend import ModelBackend
from openai_runs.backends.responses import ResponsesBackend
from openai_runs.backends.scripted import Call, Cite, Fail, Refuse, Say, ScriptedBackend, Stop, Wait
from openai_runs.backends.searching import SearchingBackend

__all__ = [
    "Call",
    "ChatCompletionsBackend",
    "Cite",
    "Fail",
    "LocalModelBackend",
    "ModelBackend",
    "Refuse",
    "ResponsesBackend",
    "Say",
    "ScriptedBackend",
    "SearchingBackend",
    "Stop",
    "Wait",
]
