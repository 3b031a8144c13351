"""The caller's tools: Python functions that a model may call, with JSON Schemas of their arguments."""

from openai_runs.toolbox.current_call import CurrentCall, current_call
from openai_runs.toolbox.toolbox import Toolbox

__all__ = ["CurrentCall", "Toolbox", "current_call"]
