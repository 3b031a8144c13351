"""`Attempts`: one attempt of a job: start its run, follow it to its end, fetch the answer.

Whatever happens to a job, whoever raises it, is noted in its result. Which job is tried when is decided elsewhere.
"""

import logging
import math
from asyncio import CancelledError
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import anyio
import anyio.lowlevel
from attrs import define, field

from openai_runs._finishing import finish
from openai_runs._habits import JOB
from openai_runs._http.retries import FAILURES, Failure, cast_doubt, is_unreachable, may_be_done, noted
from openai_runs._supervision import supervise
from openai_runs._wire.idempotency import new_key
from openai_runs.batch.earlier_runs import RunIds, as_run_ids, is_worth_following
from openai_runs.batch.endpoint_pause import comes_back
from openai_runs.batch.jobs import BatchResult, RunJob, add_usage, has_completed, join_texts
from openai_runs.batch.outage import Outage
from openai_runs.batch.repeating import key_of_run
from openai_runs.errors import (
    NotFoundError,
    OpenAIRunsError,
    RunDeadlineError,
    RunError,
    RunFailedError,
    TransportError,
    snippet,
)
from openai_runs.following.options import OnExit
from openai_runs.following.outages import outage_delay
from openai_runs.following.polling import Polling
from openai_runs.models.message import Message, MessageRole
from openai_runs.models.run import Run, Usage
from openai_runs.pacing.sending import tell
from openai_runs.session import Session
from openai_runs.toolbox import Toolbox

_logger = logging.getLogger("openai_runs.batch")

#: Seconds that a request that starts a run may still take once the batch is left.
_START_GRACE: Final = 5.0
#: Seconds between two looks for a run whose start was given up.
_LOOK_EVERY: Final = 0.25


@define(eq=False)
class OpenJob:
    """A job that was taken from the source, and whose result has not been handed out. See `BatchResult` for the fields.

    It is changed in place: a result of its own for each change costs more than the rest of the batch's bookkeeping.
    """

    index: int
    job: RunJob
    key: str | None
    run: Run | None = field(default=None, init=False)
    error: Exception | None = field(default=None, init=False)
    text: str | None = field(default=None, init=False)
    messages: tuple[Message, ...] = field(default=(), init=False)
    usage: Usage | None = field(default=None, init=False)
    doubt: Failure | None = field(default=None, init=False)  #: of a start that may have been successful
    attempts: int = field(default=0, init=False)
    started_at: datetime | None = field(default=None, init=False)
    ended_at: datetime | None = field(default=None, init=False)
    is_unreached: bool = field(default=False, init=False)  #: whether its latest attempt did not reach the endpoint
    unreached: int = field(default=0, init=False)  #: how often in a row that happened
    unreached_since: float = field(default=math.inf, init=False)  #: when it happened first
    # Run, error, attempts and start before the latest attempt.
    _before: tuple[Run | None, Exception | None, int, datetime | None] = field(init=False)
    _key: Any = field(default=None, init=False)  # the idempotency key of its first run
    _failed_runs: int = field(default=0, init=False)
    _is_taken_up: bool = field(default=False, init=False)  # whether it is known what has become of its earlier run
    _counted: str | None = field(default=None, init=False)  # the run whose tokens are in the result already

    @property
    def ok(self) -> bool:
        """See `BatchResult.ok`."""
        return self.error is None and has_completed(self.run)

    @property
    def result(self) -> BatchResult:
        """What is known of it."""
        return BatchResult(
            self.index,
            self.job,
            self.run,
            self.error,
            key=self.key,
            text=self.text,
            messages=self.messages,
            usage=self.usage,
            attempts=self.attempts,
            started_at=self.started_at,
            ended_at=self.ended_at,
        )

    def begin(self) -> None:
        """Note that an attempt begins."""
        self._before = self.run, self.error, self.attempts, self.started_at
        self.run = self.run if has_completed(self.run) else None
        self.error = None
        self.is_unreached = False
        self.attempts += 1
        self.started_at = self.started_at or datetime.now(UTC)

    def fail(self, error: Exception) -> None:
        """Note why an attempt has failed."""
        if isinstance(error, RunError):
            self.run = error.run
        elif self.run is None and isinstance(error, FAILURES):
            if self.doubt is not None:
                cast_doubt(error, self.doubt)
            elif may_be_done(error):
                self.doubt = error
        self.error = error

    def take_back(self) -> None:
        """Note that the attempt that had begun has not taken place."""
        self.run, self.error, self.attempts, self.started_at = self._before

    def put_back(self) -> None:
        """Note that an attempt that did not reach the endpoint does not count."""
        if self.run is None and self.doubt is None:
            self.take_back()
        else:  # there is a run, or there may be one: of such a job nobody may say that it was never started
            self.attempts = max(self._before[2], 1)

    def miss(self, now: float) -> None:
        """Note that the endpoint could not be reached."""
        self.is_unreached = True
        self.unreached += 1
        self.unreached_since = min(self.unreached_since, now)

    def reach(self) -> None:
        """Note that the endpoint was reached."""
        self.unreached, self.unreached_since = 0, math.inf

    def end(self) -> int:
        """Note that an attempt has ended.

        Returns:
            The tokens that it has used.
        """
        run = self.run
        self._failed_runs += isinstance(self.error, RunFailedError)
        if run is None or run.usage is None or run.id == self._counted:
            return 0
        self._counted = run.id
        self.usage = add_usage(self.usage, run.usage)
        return run.usage.total_tokens

    @property
    def earlier_run(self) -> RunIds | None:
        """The run of an earlier batch of which it is not known what has become.

        Raises:
            TypeError: It is not named by two IDs.
        """
        if self._is_taken_up or (ids := self.job.get("earlier_run")) is None:
            return None
        return as_run_ids(ids)

    def take_up(self, run: Run | None) -> Run | None:
        """Note what has become of the earlier run; ``None`` if it is not there.

        Returns:
            The run, if it is worth following.
        """
        self._is_taken_up = True
        if run is not None and is_worth_following(run):
            return run
        self._failed_runs += 1  # with the key of that run, an endpoint would return it
        return None

    def run_params(self) -> dict[str, Any]:
        """The parameters of the job's next run, with an idempotency key.

        Raises:
            TypeError: It is no job.
        """
        if not isinstance(self.job, Mapping):
            raise TypeError(f"{JOB}: got {snippet(repr(self.job))}; nothing was sent")
        params: dict[str, Any] = dict(self.job)
        params.pop("earlier_run", None)
        label = params.pop("key", "")
        if not isinstance(label, str):
            raise TypeError(f"the key of a job must be a string: got {label!r}; nothing was sent")
        if self._key is None:
            own = params.get("idempotency_key")
            self._key = new_key() if own is None else own
        params["idempotency_key"] = key_of_run(self._key, self._failed_runs)
        return params


@define(eq=False)
class Attempts:
    """Makes attempts, all of them alike."""

    _session: Session
    _toolbox: Toolbox | None
    _deadline: float | None
    _polling: Polling
    _on_exit: OnExit
    _fetch_messages: bool
    outage: Outage = field(init=False)  #: of the endpoint
    _starting: set["_Start"] = field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self.outage = Outage(self._polling.outage)

    async def make(self, job: OpenJob) -> None:
        """Make one attempt of a job, and note in its result what it comes to.

        It must run in a task of its own, and what follows it there must not await: see `supervise`.
        """

        def failed(error: BaseException) -> None:
            job.fail(as_exception(error, "the job"))

        job.begin()
        await supervise(failed, partial(self._make, job))

    def limit_starts(self) -> None:
        """Give the requests that are starting runs a last `_START_GRACE` seconds, to learn the runs' IDs."""
        for start in self._starting:
            start.limit(_START_GRACE)

    def delay_of_outage(self, job: OpenJob) -> float | None:
        """Seconds until a job whose latest attempt did not reach the endpoint may be put back, to be tried again.

        Returns:
            ``None`` if that attempt counts: the job has had the patience that there is for outages, or has a start in
            doubt that must not be repeated.
        """
        error = job.error
        if error is None or anyio.current_time() - job.unreached_since >= self._polling.outage:
            return None
        if may_be_done(error) and self._session.honours_keys is False:
            return None
        return outage_delay(self._polling, job.unreached - 1, error)

    async def await_endpoint(self) -> None:
        """Wait until the endpoint is back, or patience is over.

        It must run like `make`: the caller's code, such as an `api_key` function, may raise anything.
        """
        if await comes_back(self._session, self._polling, "the batch starts no runs"):
            self.outage.end()

    @contextmanager
    def _reaching(self, job: OpenJob) -> Iterator[None]:
        """Note whether requests reach the endpoint that a job cannot do without."""
        try:
            yield
        except FAILURES as error:
            if is_unreachable(error):
                job.miss(anyio.current_time())
            else:
                self._reached(job)
            raise
        self._reached(job)

    def _reached(self, job: OpenJob) -> None:
        job.reach()
        self.outage.end()

    async def _make(self, job: OpenJob) -> None:
        run = job.run
        if run is None:
            run = job.run = await self._complete(job)
        if self._fetch_messages:
            with self._reaching(job):
                job.messages = await fetch_answer(self._session, run)
            job.text = join_texts(job.messages)

    async def _complete(self, job: OpenJob) -> Run:
        """Start a run, and follow it to its end."""
        run: Run | None = None
        params = job.run_params()
        if (earlier := job.earlier_run) is not None:
            run = await self._take_up(job, *earlier)
            params = job.run_params()
        if job.doubt is not None and self._session.honours_keys is None:
            with self._reaching(job):
                run = await self._find_started(job, params, job.doubt)
        start = _Start(self._deadline)
        if run is None:
            with start.scope:
                self._starting.add(start)
                try:
                    with tell(start), self._reaching(job):
                        run = await self._start(params, start)
                except CancelledError:
                    if not start.is_under_way:
                        job.take_back()
                    raise
                finally:
                    self._starting.remove(start)
        if run is None:
            await anyio.lowlevel.checkpoint()  # raises if the batch was left, and the start took too long for that
            raise late_start(self._deadline)
        job.run, job.doubt = run, None
        try:
            return await self._session.runs.complete(
                run,
                toolbox=self._toolbox,
                deadline=None if self._deadline is None else max(start.ends_at - anyio.current_time(), 0.0),
                polling=self._polling,
                on_exit=self._on_exit,
            )
        except RunDeadlineError as error:  # its text has the seconds that the start has left
            raise late_end(error, self._deadline) from error

    async def _take_up(self, job: OpenJob, thread_id: str, run_id: str) -> Run | None:
        """Look what has become of a job's earlier run; the run, if it is worth following."""
        run: Run | None = None
        try:
            with self._reaching(job):
                run = await self._session.runs.retrieve(thread_id=thread_id, run_id=run_id)
        except CancelledError:
            job.take_back()
            raise
        except NotFoundError:
            _logger.info("run %s is not there any more; its job gets another one", run_id)
        return job.take_up(run)

    async def _find_started(self, job: OpenJob, params: dict[str, Any], doubt: Failure) -> Run | None:
        """Before a start in doubt is repeated: look for its run, and so find out whether the endpoint honours its key.

        Returns:
            The run, if there is a way to find it; ``None`` if the start can be repeated.

        Raises:
            TransportError, ResponseError, ProtocolError: ``doubt``: it cannot.
        """
        run, problem = None, f"it took more than {self._deadline} s"
        with anyio.move_on_after(self._deadline) as scope:
            try:
                if (thread_id := params.get("thread_id")) is not None:
                    run = await self._session.runs.find_created(thread_id, params["idempotency_key"])
                else:  # any list would do: it is about the response's headers
                    await self._session.assistants.list(limit=1).page()
                problem = ""
            except CancelledError:
                if not scope.cancel_called:
                    job.take_back()
                raise
            except FAILURES as error:
                problem = str(error)
        if problem:
            noted(doubt, f"Looking whether its run was started failed as well: {problem}")
        if problem or (run is None and not self._session.honours_keys):
            raise doubt from doubt.__cause__
        return run

    async def _start(self, params: dict[str, Any], start: "_Start") -> Run:
        if "thread_id" not in params:
            return await self._session.threads.create_and_run(**params)
        thread_id = params.pop("thread_id")
        try:
            return await self._session.runs.create(thread_id, **params)
        except CancelledError:
            if self._on_exit == "cancel" and start.is_under_way:
                await finish(self._cancel_late(thread_id, params["idempotency_key"]))
            raise

    async def _cancel_late(self, thread_id: str, key: str) -> None:
        """Cancel a run whose start was given up: the request may arrive late, so the run is looked for repeatedly."""
        runs = self._session.runs
        with anyio.move_on_after(_START_GRACE) as scope:
            try:
                while (run := await runs.find_created(thread_id, key)) is None:  # noqa: ASYNC110  # it is on the server
                    await anyio.sleep(_LOOK_EVERY)
                if not run.status.is_terminal:
                    await runs.cancel(run)
            except OpenAIRunsError as error:
                _logger.warning("the run that was being started on %s could not be cancelled: %s", thread_id, error)
        if scope.cancelled_caught:
            _logger.warning("the run that was being started on %s was not found; it may be active", thread_id)


def late_start(deadline: float | None) -> TransportError:
    """The error of an attempt whose run did not start within its deadline."""
    text = f"the run did not start within the deadline of {deadline} s: the endpoint sent no response"
    return TransportError(text, maybe_done=True)


def late_end(error: RunDeadlineError, deadline: float | None) -> RunDeadlineError:
    """The error of an attempt whose run did not end within its deadline, of which the start has taken a part."""
    return RunDeadlineError(
        f"run {error.run.id} did not end within the deadline of {deadline} s, its start included; its latest status "
        f"was {error.run.status}",
        run=error.run,
        maybe_done=error.maybe_done,
    )


async def fetch_answer(session: Session, run: Run) -> tuple[Message, ...]:
    """The assistant's messages of a run, oldest first."""
    listed = session.messages.list(run.thread_id, run_id=run.id, order="asc", limit=100)
    # Some endpoints ignore `run_id`, and send all messages of the thread.
    return tuple(
        [
            message
            async for message in listed
            if message.role is MessageRole.ASSISTANT and message.run_id in (run.id, None)
        ]
    )


@define(eq=False)
class _Start:
    """The start of a run, which can be cancelled while its request waits for its turn, and not when that was sent.

    A request that was sent is shielded, and not stopped at the deadline itself: cancelling it could leave a run on the
    server whose ID is lost.
    """

    _deadline: float | None
    scope: anyio.CancelScope = field(factory=anyio.CancelScope, init=False)
    is_under_way: bool = field(default=False, init=False)  #: whether the run may have been started
    ends_at: float = field(default=math.inf, init=False)  #: the deadline, which counts from when the request was sent

    def __attrs_post_init__(self) -> None:
        self._count()

    async def begin(self) -> None:
        # The batch may have been left since this task was made, or its turn has come; the shield would hide that.
        await anyio.lowlevel.checkpoint_if_cancelled()
        self._count()
        self.is_under_way = self.scope.shield = True
        if self._deadline is not None:
            self.scope.deadline = self.ends_at + _START_GRACE

    def settle(self) -> None:
        self.is_under_way = self.scope.shield = False
        self.scope.deadline = math.inf

    def limit(self, seconds: float) -> None:
        """Go on for so long at most."""
        self.scope.deadline = min(self.scope.deadline, anyio.current_time() + seconds)

    def _count(self) -> None:
        self.ends_at = math.inf if self._deadline is None else anyio.current_time() + self._deadline


def as_exception(error: BaseException, what: str) -> Exception:
    """An error that may be stored, and raised without being taken for the reader's own cancellation."""
    if isinstance(error, Exception):
        return error
    text = "was cancelled by code that it called" if isinstance(error, CancelledError) else "failed"
    wrapped = RuntimeError(f"{what} {text}: {type(error).__name__}")
    wrapped.__cause__ = error
    return wrapped
