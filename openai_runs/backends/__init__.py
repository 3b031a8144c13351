"""Models that a run can be executed on: scripted ones, live endpoints, and a small one on this machine.

Whoever writes a backend finds the protocol and its events in `openai_runs.backends.model_backend`.
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
