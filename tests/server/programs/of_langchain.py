"""A program on langchain-classic; `tests/server/frameworks.py` starts it, and nothing in it is ours.

It answers the calls by hand, goes on with the thread, and asks again in an `AgentExecutor`.
"""

import json
import sys

from langchain_classic.agents import AgentExecutor
from langchain_classic.agents.openai_assistant import OpenAIAssistantRunnable
from langchain_core.tools import tool


@tool
def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"21 degrees and sunny in {city}"


QUESTION = {"content": "How is the weather in Lisbon?"}
agent = OpenAIAssistantRunnable.create_assistant(
    name="Weather", instructions="Help.", tools=[get_weather], model="gpt-4o", as_agent=True, check_every_ms=20
)


def outputs_for(actions):
    return {
        "tool_outputs": [
            {"tool_call_id": action.tool_call_id, "output": get_weather.invoke(action.tool_input)} for action in actions
        ],
        "thread_id": actions[0].thread_id,
        "run_id": actions[0].run_id,
    }


def by_hand():
    answer = agent.invoke(outputs_for(agent.invoke(QUESTION)))
    further = {"thread_id": answer.thread_id, "content": "How is the weather in Porto?"}
    further = agent.invoke(outputs_for(agent.invoke(further)))
    return [answer.return_values["output"], further.return_values["output"]]


def in_an_executor():
    return AgentExecutor(agent=agent, tools=[get_weather]).invoke(QUESTION)["output"]


sys.stdout.write(json.dumps({"by_hand": by_hand(), "executor": in_an_executor()}))
