"""A program on Semantic Kernel; `tests/server/frameworks.py` starts it, and nothing in it is ours.

An agent with a plugin answers, once polled and once streamed, on one thread.
"""

import asyncio
import json
import sys

from semantic_kernel.agents import AssistantAgentThread, OpenAIAssistantAgent
from semantic_kernel.functions import kernel_function


class Weather:
    """A plugin."""

    @kernel_function(description="Tell the weather of a city.")
    def get_weather(self, city: str) -> str:
        return f"21 degrees and sunny in {city}"


async def main():
    client = OpenAIAssistantAgent.create_client(ai_model_id="gpt-4o")
    definition = await client.beta.assistants.create(model="gpt-4o", instructions="Help.", name="Weather")
    agent = OpenAIAssistantAgent(client=client, definition=definition, plugins=[Weather()])
    thread = AssistantAgentThread(client=client)
    polled = await agent.get_response(messages="How is the weather in Lisbon?", thread=thread)
    pieces = [
        str(piece.message) async for piece in agent.invoke_stream(messages="And what of Porto now?", thread=thread)
    ]
    await thread.delete()
    await client.beta.assistants.delete(agent.id)
    sys.stdout.write(json.dumps({"polled": str(polled.message), "streamed": "".join(pieces), "pieces": len(pieces)}))


asyncio.run(main())
