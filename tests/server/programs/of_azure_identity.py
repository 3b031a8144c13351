"""A session with tokens of azure-identity, as `docs/how-to/coming-from-azure.md` has it.

The credential alone is made up; it prints for what scopes it was asked, and how a run ended.
"""

import asyncio
import json
import os
import sys
import time

from azure.core.credentials import AccessToken
from azure.identity.aio import get_bearer_token_provider

from openai_runs import Session

scopes = []


class Credential:
    """In the place of `DefaultAzureCredential`."""

    async def get_token(self, *asked, **_):
        scopes.extend(asked)
        return AccessToken("token", int(time.time()) + 3600)


async def main():
    token = get_bearer_token_provider(Credential(), "https://ai.azure.com/.default")
    async with Session(os.environ["OPENAI_BASE_URL"], token, default_query={"api-version": "v1"}) as session:
        assistant = await session.assistants.create(model="gpt-4o")
        run = await session.threads.create_and_run(assistant_id=assistant.id)
        run = await session.runs.complete(run, deadline=60)
    sys.stdout.write(json.dumps({"scopes": scopes, "status": run.status}))


asyncio.run(main())
