"""assistants."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from openai_runs.engine.records import PageQuery
from openai_runs.models.assistant import Assistant, Deleted
from openai_runs.models.page import Page

Body: TypeAlias = Mapping[str, Any]


class Assistants:
    async def create(self, owner: str, body: Body) -> Assistant:
        raise NotImplementedError

    async def retrieve(self, owner: str, assistant_id: str) -> Assistant:
        raise NotImplementedError

    async def update(self, owner: str, assistant_id: str, body: Body) -> Assistant:
        raise NotImplementedError

    async def list(self, owner: str, query: PageQuery) -> Page[Assistant]:
        raise NotImplementedError

    async def delete(self, owner: str, assistant_id: str) -> Deleted:
        raise NotImplementedError
