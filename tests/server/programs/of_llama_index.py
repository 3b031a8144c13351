"""A program on LlamaIndex; `tests/server/frameworks.py` starts it, and nothing in it is ours."""

import json
import sys

from llama_index.agent.openai import OpenAIAssistantAgent
from llama_index.core.tools import FunctionTool


def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"21 degrees and sunny in {city}"


agent = OpenAIAssistantAgent.from_new(
    name="Weather", instructions="Help.", tools=[FunctionTool.from_defaults(get_weather)], model="gpt-4o"
)
answers = [str(agent.chat(f"How is the weather in {city}?")) for city in ("Lisbon", "Porto")]
sys.stdout.write(json.dumps({"answers": answers, "roles": [message.role.value for message in agent.chat_history]}))
