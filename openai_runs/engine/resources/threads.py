"""threads."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from openai_runs.models.assistant import Deleted
from openai_runs.models.run import Run
from openai_runs.models.thread import Thread

Body: TypeAlias = Mapping[str, Any]


class Threads:
    async def create(self, owner: str, body: Body) -> Thread:
        raise NotImplementedError

    async def retrieve(self, owner: str, thread_id: str) -> Thread:
        raise NotImplementedError

    async def update(self, owner: str, thread_id: str, body: Body) -> Thread:
        raise NotImplementedError

    async def delete(self, owner: str, thread_id: str) -> Deleted:
        raise NotImplementedError

    async def create_and_run(self, owner: str, body: Body) -> Run:
        raise NotImplementedError
