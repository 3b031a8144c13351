"""Run steps: what a run did."""

from collections.abc import Sequence
from typing import Final, Unpack

from openai_runs import _params
from openai_runs._transport import Transport
from openai_runs.models.page import IncludeParams, ListParams, Page
from openai_runs.models.run_step import RunStep
from openai_runs.services.listing import Listing

_ALL: Final = "/threads/{thread_id}/runs/{run_id}/steps"
_ONE: Final = "/threads/{thread_id}/runs/{run_id}/steps/{step_id}"


class RunStepsService:
    """``session.run_steps``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def retrieve(self, thread_id: str, run_id: str, step_id: str, /, *, include: Sequence[str] = ()) -> RunStep:
        """Fetch a step.

        Args:
            thread_id: The thread.
            run_id: The run.
            step_id: The step.
            include: Further fields to send; the API has one,
                ``step_details.tool_calls[*].file_search.results[*].content``.

        Raises:
            NotFoundError: There is no such thread, run or step.

        Source: Assistants v2 API, operation ``getRunStep``.
        """
        _params.check({"include": include}, IncludeParams)
        query = {"include[]": include}
        url = self._transport.url(_ONE, query, thread_id=thread_id, run_id=run_id, step_id=step_id)
        return await self._transport.request("GET", url, RunStep)

    def list(
        self, thread_id: str, run_id: str, /, *, include: Sequence[str] = (), **query: Unpack[ListParams]
    ) -> Listing[RunStep]:
        """All steps of a run, newest first: ``async for``, or ``await ….page()``.

        Args:
            thread_id: The thread.
            run_id: The run.
            include: As for `retrieve`.
            **query: See `ListParams`.

        Source: Assistants v2 API, operation ``listRunSteps``.
        """
        _params.check({"include": include}, IncludeParams)
        ids = {"thread_id": thread_id, "run_id": run_id}
        return Listing(self._transport, Page[RunStep], _ALL, ids, query, ListParams, include)
