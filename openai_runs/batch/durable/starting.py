"""`Start`: the start of a job's run, so that there is one, whoever began with it, and how long an attempt may take."""

import logging
import math
from functools import partial
from typing import Any, Final

import anyio
from attrs import define, field

from openai_runs._http.retries import FAILURES, Failure, cast_doubt, is_unreachable, may_be_done
from openai_runs.batch.attempt import late_start
from openai_runs.batch.durable.job_table import TakenJob
from openai_runs.batch.durable.options import WorkSettings
from openai_runs.batch.durable.shared_limits import SharedPace
from openai_runs.batch.endpoint_pause import EndpointPause
from openai_runs.batch.repeating import key_of_run
from openai_runs.errors import OpenAIRunsError
from openai_runs.models.run import Run
from openai_runs.pacing.sending import tell
from openai_runs.session import Session

_logger = logging.getLogger("openai_runs.batch")
#: Seconds for finding a run whose start was given up.
_FIND_TIMEOUT: Final = 5.0
#: Seconds between two looks for it.
_LOOK_EVERY: Final = 0.25
#: What a job has beside the parameters of its run.
_NOT_OF_RUN: Final = frozenset({"earlier_run", "key", "thread_id", "thread", "tool_resources"})
#: What is sent, for the log.
REQUEST: Final = "a job of a durable batch"


@define(eq=False)
class Start:
    """The start of the run of one attempt."""

    _session: Session
    _settings: WorkSettings
    _pace: SharedPace
    _pause: EndpointPause
    _job: TakenJob
    _thread_id: str
    _failed: int  # how many runs of the job have failed
    _clock: "_Clock" = field(init=False)
    _params: dict[str, Any] = field(init=False)
    _key: str = field(init=False)
    _was_sent: bool = field(default=False, init=False)
    _doubt: Failure | None = field(default=None, init=False)  # what failed, and may have started it

    def __attrs_post_init__(self) -> None:
        self._clock = _Clock(self._settings.deadline)
        self._params = {name: value for name, value in self._job.params.items() if name not in _NOT_OF_RUN}
        self._key = key_of_run(self._params.get("idempotency_key") or self._job.id, self._failed)
        self._params["idempotency_key"] = self._key

    @property
    def ends_at(self) -> float:
        """The deadline, which counts from when the request was sent; infinite without one, or if a run was found."""
        return self._clock.ends_at

    async def run(self) -> Run:
        """Start the run, or find it.

        Raises:
            TransportError: It did not start within the deadline, as far as is known.
            Exception: Why it was not started; ``maybe_done`` if that is in doubt.
        """
        if self._job.attempts > 1 and (found := await self._find_earlier()) is not None:
            return found
        await self._pace.begin_run()
        try:
            with self._clock.scope:
                return await self._pause.through(self._create, REQUEST)
        except Exception as error:  # whatever it is, wrong parameters too: nothing was started, unless it says so
            if self._doubt is not None and isinstance(error, FAILURES):  # such as one of looking for the run
                cast_doubt(error, self._doubt)
            if not may_be_done(error):
                await self._pace.give_back_run()
            raise
        if (late := await self._find_late()) is not None:
            return late
        raise late_start(self._settings.deadline)

    async def _find_earlier(self) -> Run | None:
        """Look for a run of an earlier attempt, of which nobody knows how far it came."""
        try:
            return await self._pause.through(self._find, REQUEST)
        except FAILURES as error:
            error.maybe_done = True
            error.add_note("An earlier attempt may have started the run, which could not be looked for.")
            raise

    async def _create(self) -> Run:
        if self._was_sent and (found := await self._find()) is not None:
            return found
        self._was_sent = True
        try:
            with tell(self._clock):
                return await self._session.runs.create(self._thread_id, **self._params)
        except FAILURES as error:
            if may_be_done(error):
                self._doubt = error
            if is_unreachable(error):  # an outage takes nothing of the deadline, which counts from the next request
                self._clock.settle()
            raise

    async def _find(self) -> Run | None:
        """The job's run, if it was created before; needed where the endpoint honours no keys."""
        if self._job.params.get("thread_id") is not None or self._failed:
            return await self._session.runs.find_created(self._thread_id, self._key)
        page = await self._session.runs.list(self._thread_id).page()  # created for this job: it has no other run
        return next(iter(page.data), None)

    async def _find_late(self) -> Run | None:
        """Look for a run whose request was given up, and may arrive all the same."""
        look = partial(self._pause.through, self._find, REQUEST)
        with anyio.move_on_after(_FIND_TIMEOUT):
            try:
                while (run := await look()) is None:  # noqa: ASYNC110  # it is on the server
                    await anyio.sleep(_LOOK_EVERY)
                return run
            except OpenAIRunsError as error:
                _logger.warning("the run that was being started could not be looked for: %s", error)
        return None


@define
class _Clock:
    """The deadline of an attempt, from when the request is sent that starts its run. It is a `Sending`."""

    _seconds: float | None
    ends_at: float = field(default=math.inf, init=False)
    scope: anyio.CancelScope = field(factory=anyio.CancelScope, init=False)  #: is cancelled at the deadline

    async def begin(self) -> None:
        if self._seconds is not None:
            self.ends_at = self.scope.deadline = min(self.ends_at, anyio.current_time() + self._seconds)

    def settle(self) -> None:
        self.ends_at = self.scope.deadline = math.inf
