"""The models that can execute a run: a scripted one, live endpoints, and a small real one on this machine.

The protocol for writing another backend, and its events, are in `openai_runs.backends.model_backend`.
"""

from openai_runs.backends.chat_completions import ChatCompletionsBackend
from openai_runs.backends.local_model import LocalModelBackend
from openai_runs.backends.model_backend import ModelBackend
from openai_runs.backends.responses import ResponsesBackend
from openai_runs.backends.scripted import Call, Fail, Refuse, Say, ScriptedBackend, Stop, Wait

__all__ = [
    "Call",
    "ChatCompletionsBackend",
    "Fail",
    "LocalModelBackend",
    "ModelBackend",
    "Refuse",
    "ResponsesBackend",
    "Say",
    "ScriptedBackend",
    "Stop",
    "Wait",
]
