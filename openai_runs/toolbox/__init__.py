"""Tools of the caller's: functions that a model may call, and the schemas that tell it how."""

from openai_runs.toolbox.toolbox import Toolbox

__all__ = ["Toolbox"]
