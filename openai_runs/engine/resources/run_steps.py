"""run_steps."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from openai_runs.engine.records import PageQuery
from openai_runs.models.page import Page
from openai_runs.models.run_step import RunStep

Body: TypeAlias = Mapping[str, Any]


class RunSteps:
    async def retrieve(self, owner: str, thread_id: str, run_id: str, step_id: str) -> RunStep:
        raise NotImplementedError

    async def list(self, owner: str, thread_id: str, run_id: str, query: PageQuery) -> Page[RunStep]:
        raise NotImplementedError
