"""A program on autogen-ext; `tests/server/frameworks.py` starts it, and nothing in it is ours.

An agent answers with a function, alone and in a team, forgets, uploads a file for a search, and deletes all.
"""

import asyncio
import json
import pathlib
import sys

from autogen_agentchat.conditions import MaxMessageTermination
from autogen_agentchat.messages import TextMessage
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_core import CancellationToken
from autogen_ext.agents.openai import OpenAIAssistantAgent
from openai import AsyncOpenAI


async def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"21 degrees and sunny in {city}"


async def main():
    client = AsyncOpenAI()
    token = CancellationToken()
    asked = [TextMessage(source="user", content="How is the weather in Lisbon?")]
    agent = OpenAIAssistantAgent("weather", "Tells it.", client, "gpt-4o", "Help.", tools=[get_weather])
    response = await agent.on_messages(asked, token)
    told = {
        "answer": response.chat_message.content,
        "inner": [type(message).__name__ for message in response.inner_messages],
    }
    await agent.on_reset(token)
    team = RoundRobinGroupChat([agent], termination_condition=MaxMessageTermination(2))
    told["team"] = (await team.run(task="How is the weather in Porto?")).messages[-1].content
    await agent.delete_assistant(token)

    librarian = OpenAIAssistantAgent("librarian", "Reads.", client, "gpt-4o", "Help.", tools=["file_search"])
    await librarian.on_upload_for_file_search("kettle.txt", token)
    asked = [TextMessage(source="user", content="How many litres does the kettle hold?")]
    told["found"] = (await librarian.on_messages(asked, token)).chat_message.content
    await librarian.delete_uploaded_files(token)
    await librarian.delete_vector_store(token)
    await librarian.delete_assistant(token)
    told["left"] = len((await client.beta.assistants.list()).data)
    sys.stdout.write(json.dumps(told))


pathlib.Path("kettle.txt").write_text("The kettle holds 1.7 litres of water.")
asyncio.run(main())
