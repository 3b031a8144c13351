"""`JobRunner`: runs the jobs of one workflow, in order: create thread and run, follow the run, record how it ended.

Thread and run are created in steps whose outcome is stored, so that a worker which takes over knows them. Whoever dies
between a request and the storing of its outcome has left a run that nobody knows: therefore the idempotency key is the
job's ID, and a job that was taken before is searched for before its run is created.

Following is stored only with the run's end. It can be repeated at any time, since the server knows how far the run is.
"""

import logging
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import anyio
from attrs import define, evolve, field

from openai_runs import _wire
from openai_runs._finishing import finish
from openai_runs._supervision import supervise
from openai_runs.batch.attempt import as_exception, fetch_answer, late_end
from openai_runs.batch.durable.database import in_thread
from openai_runs.batch.durable.job_table import JobTable, TakenJob
from openai_runs.batch.durable.options import WorkSettings
from openai_runs.batch.durable.outcomes import Outcome, dump_error, load_error
from openai_runs.batch.durable.shared_limits import SharedPace
from openai_runs.batch.durable.starting import REQUEST, Start
from openai_runs.batch.earlier_runs import as_run_ids, is_worth_following
from openai_runs.batch.endpoint_pause import EndpointPause
from openai_runs.batch.jobs import BatchResult, add_usage, has_completed
from openai_runs.errors import (
    NotFoundError,
    OpenAIRunsError,
    RunDeadlineError,
    RunError,
    RunFailedError,
)
from openai_runs.models.run import Run, Usage
from openai_runs.pacing.sending import tell
from openai_runs.session import Session

_logger = logging.getLogger("openai_runs.batch")
T = TypeVar("T")

#: Seconds for cancelling a run whose job was cancelled, or is late.
_CANCEL_TIMEOUT: Final = 5.0


class Steps(Protocol):
    """Runs steps of a workflow, and returns stored outcomes of those that a worker before has finished."""

    async def run(self, name: str, step: Callable[[], Awaitable[Any]], *, preemptible: bool = False) -> Any:
        """Run a step, or return its stored outcome, which is JSON."""


@define
class _Tries:
    """How often a job was tried."""

    number: int = 0
    failed: int = 0  #: of these, with a run that has failed
    usage: str | None = None  #: JSON: the tokens of all of them

    @property
    def total(self) -> Usage | None:
        """The tokens of all of them."""
        return None if self.usage is None else _wire.load(self.usage, Usage, strict=False)


@define(eq=False)
class JobRunner:
    """Runs jobs against one session."""

    _session: Session
    _table: JobTable
    _settings: WorkSettings
    _pace: SharedPace
    _pause: EndpointPause = field(init=False)
    #: Set when this process stops working: the runs are left to whoever takes over.
    is_leaving: bool = field(default=False, init=False)
    _is_draining: bool = field(default=False, init=False)
    #: The workflows whose jobs run here, and what tells that the present one has ended.
    _running: dict[str, anyio.Event] = field(factory=dict, init=False)
    #: Called when a job's end was recorded.
    on_recorded: Callable[[], None] = field(default=lambda: None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        self._pause = EndpointPause(self._session, self._settings.polling, "this worker begins no jobs")

    async def run(self, workflow_id: str, steps: Steps) -> None:
        """Run the jobs of a workflow, one after another."""
        latest = -1
        while True:
            while (job := await self._run_next(workflow_id, latest, steps)) is not None:
                latest = job.seq
                if job.params.get("thread_id") is None:  # it has a thread, and so a workflow, of its own
                    return
            if await in_thread(self._table.close_chain, workflow_id, latest):
                return

    async def drain(self) -> None:
        """Begin no more jobs, and wait until those that run here have ended."""
        self._is_draining = True
        while self._running:
            await next(iter(self._running.values())).wait()

    async def _run_next(self, workflow_id: str, after: int, steps: Steps) -> TakenJob | None:
        """Run the next job of a workflow; ``None`` if there is none after the job ``after``."""
        await self._pause.wait()  # before it is taken: what nobody has begun counts as waiting
        if self._is_draining:
            await anyio.sleep_forever()  # until this process stops: then somebody takes the workflow over
        ended = self._running[workflow_id] = anyio.Event()
        try:
            if (job := await in_thread(self._table.take, workflow_id, after)) is not None:
                with tell(self._pace):
                    await self._run_job(job, steps)
            return job
        finally:
            self._running.pop(workflow_id, None)
            ended.set()

    async def _run_job(self, job: TakenJob, steps: Steps) -> None:
        """Run a job. Of one that was run before, the steps have stored outcomes; what is skipped here are requests."""
        thread: dict[str, Any] = {"id": job.params.get("thread_id")}
        tries, has_earlier = _Tries(), job.params.get("earlier_run") is not None
        while True:
            tries.number += 1
            earlier: dict[str, Any] = {}
            if has_earlier:
                earlier = await steps.run("earlier", partial(self._attempt, job, partial(self._look_up, job)))
                has_earlier = "error" in earlier  # it is looked at until it is known what has become of it
                tries.failed += not earlier  # with the key of that run, an endpoint would return it
            if not earlier and thread.get("id") is None:
                thread = await steps.run("thread", partial(self._attempt, job, partial(self._create_thread, job)))
            ended = await self._try(job, thread, earlier, tries, steps)
            if (delay := ended.get("repeat_after")) is None:
                return
            tries.failed += ended["has_failed"]
            tries.usage = ended["usage"]
            await anyio.sleep(delay)

    async def _try(
        self, job: TakenJob, thread: dict[str, Any], earlier: dict[str, Any], tries: "_Tries", steps: Steps
    ) -> dict[str, Any]:
        """Run a job once: what there is to know for running it again; nothing if it has ended.

        Args:
            job: The job.
            thread: Where its run is started; or why there is none.
            earlier: Its earlier run, if that is followed; or why it could not be looked at.
            tries: How often it was tried, this time included.
            steps: Store what was done.
        """
        started: Run | None = None
        thread_id: Any = earlier.get("thread_id", thread.get("id"))

        async def create() -> dict[str, Any]:
            nonlocal started
            start = Start(self._session, self._settings, self._pace, self._pause, job, thread_id, tries.failed)
            started = await start.run()
            return {"id": started.id, "ends_at": await self._by_database(start.ends_at)}

        async def end() -> dict[str, Any]:
            if job.has_ended:
                return {}
            if "error" in run:
                outcome = Outcome(error=load_error(run["error"], None))
            else:
                outcome = await self._follow(started, thread_id, run)
            outcome = evolve(outcome, tries=tries.number, usage=add_usage(tries.total, outcome.own_usage))
            if outcome.run is not None and not earlier:  # of an earlier run nothing was taken from the limits
                await self._pace.end_run(0 if outcome.own_usage is None else outcome.own_usage.total_tokens)
            if (delay := self._delay(job, outcome)) is not None:
                has_failed = isinstance(outcome.error, RunFailedError)
                return {"repeat_after": delay, "has_failed": has_failed, "usage": outcome.columns()["usage"]}
            await in_thread(self._table.record, job.seq, outcome)
            self.on_recorded()
            return {}

        run = earlier or (thread if "error" in thread else {})
        try:
            run = run or await steps.run("create", partial(self._attempt, job, create))
            ended: dict[str, Any] = await steps.run("end", end, preemptible=True)
            return ended
        except BaseException:  # cancelled, in one of several ways; or the job has another worker now
            run_id = run.get("id") if started is None else started.id
            if not self.is_leaving and run_id is not None:
                await finish(self._cancel_if_cancelled(job, thread_id, run_id))
            raise

    def _delay(self, job: TakenJob, outcome: Outcome) -> float | None:
        """Seconds after which a job is tried again; ``None`` if it has ended."""
        params: Any = job.params
        result = BatchResult(0, params, outcome.run, outcome.error, attempts=outcome.tries)
        is_done = has_completed(outcome.run)  # only its answer is missing
        retries = self._settings.retries
        if is_done or not retries.should_repeat(result, keys_honoured=bool(self._session.honours_keys)):
            return None
        return retries.delay(result, random.random())  # noqa: S311  # no secret

    async def _attempt(self, job: TakenJob, create: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """Create something, unless the job was cancelled: what is known of it, or why that failed, as JSON."""
        if job.has_ended:
            return {}
        made, error = await _guarded(create)
        return {"error": dump_error(error)} if error is not None else made or {}

    async def _create_thread(self, job: TakenJob) -> dict[str, Any]:
        async def create() -> dict[str, Any]:
            params = job.params.get("thread") or {}
            resources = job.params.get("tool_resources")
            if resources is not None:
                params = {"tool_resources": resources, **params}
            return {"id": (await self._session.threads.create(idempotency_key=f"{job.id}-thread", **params)).id}

        # After a lost response an empty thread more is no harm: nothing ever runs on it.
        return await self._pause.through(create, REQUEST)

    async def _look_up(self, job: TakenJob) -> dict[str, Any]:
        """Look what has become of a job's earlier run: its IDs, if it is worth following."""
        thread_id, run_id = as_run_ids(job.params["earlier_run"])
        retrieve = partial(self._session.runs.retrieve, thread_id=thread_id, run_id=run_id)
        try:
            run = await self._pause.through(retrieve, REQUEST)
        except NotFoundError:
            _logger.info("run %s is not there any more; its job gets another one", run_id)
            return {}
        return {"thread_id": thread_id, "id": run_id} if is_worth_following(run) else {}

    async def _follow(self, run: Run | None, thread_id: str, created: Mapping[str, Any]) -> Outcome:
        """Follow a run to its end, or to the deadline, and answer its tool calls."""
        deadline = await self._seconds_left(created.get("ends_at"))

        async def complete() -> Run:
            options: Any = {
                "toolbox": self._settings.toolbox,
                "polling": self._settings.polling,
                "deadline": deadline,
            }
            if run is not None:
                return await self._session.runs.complete(run, **options)
            return await self._session.runs.complete(thread_id=thread_id, run_id=created["id"], **options)

        ended, error = await _guarded(complete)
        if isinstance(error, RunDeadlineError):
            await self._cancel(thread_id, created["id"])
            return Outcome(error.run, late_end(error, self._settings.deadline))
        if ended is None or not self._settings.fetch_messages:
            return Outcome(error.run if isinstance(error, RunError) else ended or run, error)
        fetch = partial(fetch_answer, self._session, ended)
        messages, error = await _guarded(partial(self._pause.through, fetch, REQUEST))
        return Outcome(ended, error, messages)

    async def _by_database(self, at: float) -> float | None:
        """A time of this process by the database's clock, which the worker that goes on has as well."""
        return None if at == math.inf else at - anyio.current_time() + await in_thread(self._table.now)

    async def _seconds_left(self, ends_at: float | None) -> float | None:
        """Seconds until the deadline; of a run that was started without one, those of a whole attempt."""
        if self._settings.deadline is None or ends_at is None:
            return self._settings.deadline
        return max(ends_at - await in_thread(self._table.now), 0.0)

    async def _cancel_if_cancelled(self, job: TakenJob, thread_id: str, run_id: str) -> None:
        """Cancel the run of a job that was cancelled; one whose job has another worker is that one's."""
        if await in_thread(self._table.is_cancelled, job.seq):
            await self._cancel(thread_id, run_id)

    async def _cancel(self, thread_id: str, run_id: str) -> None:
        with anyio.move_on_after(_CANCEL_TIMEOUT):
            try:
                await self._session.runs.cancel(thread_id=thread_id, run_id=run_id)
            except OpenAIRunsError as error:
                _logger.warning("run %s could not be cancelled: %s", run_id, error)


async def _guarded(work: Callable[[], Awaitable[T]]) -> tuple[T | None, Exception | None]:
    """Do some work in a task of its own: what it returns, or what it raises, which is the job's and nobody else's."""
    made: T | None = None
    failure: Exception | None = None

    async def do() -> None:
        nonlocal made
        made = await work()

    def failed(error: BaseException) -> None:
        nonlocal failure
        failure = as_exception(error, "the job")

    async with anyio.create_task_group() as group:
        group.start_soon(supervise, failed, do)
    return made, failure
