"""The API's operations on run steps, on the server's side of `openai_runs.services.run_steps`."""

from attrs import define

from openai_runs._evolving import evolve
from openai_runs.engine.errors import not_found
from openai_runs.engine.ledger import Ledger
from openai_runs.engine.turn_output import shown_step
from openai_runs.models.page import Page
from openai_runs.models.run import Run
from openai_runs.models.run_step import RunStep
from openai_runs.stores.records import PageQuery


@define
class RunSteps:
    """The steps of each run."""

    _ledger: Ledger

    async def retrieve(
        self, owner: str, thread_id: str, run_id: str, step_id: str, *, shows_search_content: bool = False
    ) -> RunStep:
        """Operation ``getRunStep``."""
        await self._ledger.find_in_thread(Run, owner, thread_id, run_id)
        step = (await self._ledger.find(RunStep, owner, step_id)).value
        if step.run_id != run_id:
            raise not_found("run step", step_id)
        return shown_step(step, shows_search_content=shows_search_content)

    async def list(
        self, owner: str, thread_id: str, run_id: str, query: PageQuery, *, shows_search_content: bool = False
    ) -> Page[RunStep]:
        """Operation ``listRunSteps``."""
        await self._ledger.find_in_thread(Run, owner, thread_id, run_id)
        page = await self._ledger.page(RunStep, run_id, query)
        shown = (shown_step(step, shows_search_content=shows_search_content) for step in page.data)
        return evolve(page, data=tuple(shown))
