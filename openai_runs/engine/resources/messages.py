"""messages."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from openai_runs.engine.records import PageQuery
from openai_runs.models.assistant import Deleted
from openai_runs.models.message import Message
from openai_runs.models.page import Page

Body: TypeAlias = Mapping[str, Any]


class Messages:
    async def create(self, owner: str, thread_id: str, body: Body) -> Message:
        raise NotImplementedError

    async def retrieve(self, owner: str, thread_id: str, message_id: str) -> Message:
        raise NotImplementedError

    async def update(self, owner: str, thread_id: str, message_id: str, body: Body) -> Message:
        raise NotImplementedError

    async def list(self, owner: str, thread_id: str, query: PageQuery, run_id: str | None = None) -> Page[Message]:
        raise NotImplementedError

    async def delete(self, owner: str, thread_id: str, message_id: str) -> Deleted:
        raise NotImplementedError
