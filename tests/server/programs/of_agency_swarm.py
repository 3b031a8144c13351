"""A program on Agency Swarm before its version 1; `tests/server/frameworks.py` starts it, and nothing in it is ours."""

import json
import sys

from agency_swarm import Agency, Agent, BaseTool
from pydantic import Field


class GetWeather(BaseTool):
    """Tell the weather of a city."""

    city: str = Field(..., description="The city's name.")

    def run(self):
        return f"21 degrees and sunny in {self.city}"


weather = Agent(name="Weather", description="Tells it.", instructions="Help.", tools=[GetWeather], model="gpt-4o")
agency = Agency([weather], shared_instructions="Be brief.")
answer = agency.get_completion("How is the weather in Lisbon?")
tools = [tool.function.name for tool in weather.client.beta.assistants.retrieve(weather.id).tools]
weather.delete()
sys.stdout.write(json.dumps({"answer": answer, "tools": tools}))
