"""A program on azure-ai-agents; `tests/server/frameworks.py` starts it, and nothing in it is ours.

Only the policy is for this server: a key instead of a token, which the library sends through TLS only.
"""

import json
import os
import sys

from azure.ai.agents import AgentsClient
from azure.ai.agents.models import FunctionTool, ListSortOrder, MessageRole, ToolSet
from azure.core.credentials import AzureKeyCredential
from azure.core.pipeline.policies import AzureKeyCredentialPolicy


def get_weather(city: str) -> str:
    """Tell the weather of a city.

    :param city: The city's name.
    """
    return f"21 degrees and sunny in {city}"


def main():
    key = AzureKeyCredential(os.environ["OPENAI_API_KEY"])
    policy = AzureKeyCredentialPolicy(key, "api-key")
    client = AgentsClient(os.environ["PROJECT_ENDPOINT"], key, authentication_policy=policy)
    toolset = ToolSet()
    toolset.add(FunctionTool({get_weather}))
    client.enable_auto_function_calls(toolset)
    told = {}
    with client:
        agent = client.create_agent(model="gpt-4o", name="Weather", instructions="Help.", toolset=toolset)
        thread = client.threads.create()

        client.messages.create(thread.id, role="user", content="How is the weather in Lisbon?")
        run = client.runs.create_and_process(thread_id=thread.id, agent_id=agent.id, polling_interval=0)
        answer = client.messages.get_last_message_text_by_role(thread.id, MessageRole.AGENT)
        told["polled"] = [run.status.value, answer.text.value]

        client.messages.create(thread.id, role="user", content="How is the weather in Porto?")
        with client.runs.stream(thread.id, agent_id=agent.id) as events:
            told["events"] = [str(name) for name, *_ in events]
        answer = client.messages.get_last_message_text_by_role(thread.id, MessageRole.AGENT)
        told["streamed"] = answer.text.value

        messages = client.messages.list(thread.id, order=ListSortOrder.ASCENDING)
        told["roles"] = [message.role.value for message in messages]
        client.threads.delete(thread.id)
        client.delete_agent(agent.id)
    sys.stdout.write(json.dumps(told))


main()
