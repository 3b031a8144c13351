"""Run steps: what a run did."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Never, Unpack

from openai_runs import _habits
from openai_runs._http.overrides import overrides_of, take_overrides
from openai_runs._http.pages import Listing
from openai_runs._http.transport import Transport
from openai_runs._wire.parameters import check_params
from openai_runs._wire.paths import STEP, STEPS, ids_of
from openai_runs._wire.signatures import spelled_out
from openai_runs.models.page import IncludeParams, ListRequest, Page
from openai_runs.models.request_options import RequestOptions
from openai_runs.models.run import Run
from openai_runs.models.run_step import RunStep


@spelled_out
class RunStepsService:
    """``session.run_steps``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    if not TYPE_CHECKING:  # type checkers are to report them
        __getattr__ = _habits.missing(_habits.RUN_STEPS)

    async def retrieve(
        self,
        step: RunStep | None = None,
        *_positional: Never,
        thread_id: str | None = None,
        run_id: str | None = None,
        step_id: str | None = None,
        include: Sequence[str] = (),
        **options: Unpack[RequestOptions],
    ) -> RunStep:
        """Fetch a step.

        Args:
            step: The step, in any version. Instead of it, give all three IDs:
            thread_id: The thread's ID.
            run_id: The run's ID.
            step_id: The step's ID.
            include: Additional fields that the server should send. The API has one,
                ``step_details.tool_calls[*].file_search.results[*].content``.
            **options: See `RequestOptions`.

        Raises:
            NotFoundError: There is no such thread, run or step.

        Source: Assistants v2 API, operation ``getRunStep``.
        """
        _habits.refuse_positional(_positional, "retrieve(step), or retrieve(thread_id=…, run_id=…, step_id=…)")
        check_params({"include": include}, IncludeParams)
        ids = ids_of(RunStep, step, thread_id=thread_id, run_id=run_id, step_id=step_id)
        url = self._transport.url(STEP, {"include[]": include}, **ids)
        return await self._transport.request("GET", url, RunStep, overrides=overrides_of(options))

    def list(
        self,
        run: Run | None = None,
        *_positional: Never,
        thread_id: str | None = None,
        run_id: str | None = None,
        include: Sequence[str] = (),
        **query: Unpack[ListRequest],
    ) -> Listing[RunStep]:
        """List a run's steps, newest first: iterate with ``async for``, or ``await ….page()`` for one page.

        Args:
            run: The run. Instead of it, give both IDs:
            thread_id: The thread's ID.
            run_id: The run's ID.
            include: As for `retrieve`.
            **query: See `ListParams` and `RequestOptions`.

        Source: Assistants v2 API, operation ``listRunSteps``.
        """
        _habits.refuse_positional(_positional, "list(run), or list(thread_id=…, run_id=…)")
        check_params({"include": include}, IncludeParams)
        check_params(query, ListRequest)
        overrides = take_overrides(query)
        ids = ids_of(Run, run, thread_id=thread_id, run_id=run_id)
        return Listing(self._transport, Page[RunStep], STEPS, ids, query, include, overrides)
