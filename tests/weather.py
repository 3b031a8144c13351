"""What most tests are about: the weather, told by a tool, and polled for at once."""

from openai_runs.following.polling import Polling
from openai_runs.models.tool import Function, FunctionTool

#: So short that nothing waits.
QUICK = Polling(first=0.001, longest=0.01)

WEATHER = FunctionTool(
    function=Function(
        name="get_weather",
        description="The weather of a city.",
        parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    )
)
