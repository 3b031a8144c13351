"""runs."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from openai_runs.engine.records import PageQuery
from openai_runs.models.page import Page
from openai_runs.models.run import Run

Body: TypeAlias = Mapping[str, Any]


class Runs:
    async def create(self, owner: str, thread_id: str, body: Body) -> Run:
        raise NotImplementedError

    async def retrieve(self, owner: str, thread_id: str, run_id: str) -> Run:
        raise NotImplementedError

    async def update(self, owner: str, thread_id: str, run_id: str, body: Body) -> Run:
        raise NotImplementedError

    async def list(self, owner: str, thread_id: str, query: PageQuery) -> Page[Run]:
        raise NotImplementedError

    async def cancel(self, owner: str, thread_id: str, run_id: str) -> Run:
        raise NotImplementedError

    async def submit_tool_outputs(self, owner: str, thread_id: str, run_id: str, outputs: Sequence[Body]) -> Run:
        raise NotImplementedError
