"""Limits and refusals, seen from the network: a real session, a real server, and a clock that is a number."""

import asyncio
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import anyio
import pytest

from openai_runs import JobRetries, RateLimits, RunJob, Session, run_batch
from openai_runs.errors import RateLimitError
from openai_runs.following.polling import Polling
from tests.pacing.clock import NetworkClockLoop
from tests.samples import EXAMPLES
from tests.stub import NEVER, Reply, Request, Stub, error, reply

pytestmark = pytest.mark.anyio

RUN = json.loads((EXAMPLES / "objects/RunObject.json").read_text()) | {"status": "completed"}
THREAD = json.loads((EXAMPLES / "objects/ThreadObject.json").read_text())
NO_CREDIT = {"error": {"message": "Pay.", "type": "insufficient_quota", "param": None, "code": "insufficient_quota"}}


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": NetworkClockLoop}


def now() -> float:
    return asyncio.get_running_loop().time()


class Timed:
    """Says when each request came, in seconds since the first test began to look."""

    def __init__(self, answer: Callable[[Request], Reply]) -> None:
        self.answer = answer
        self.began = now()
        self.times: list[float] = []

    def __call__(self, request: Request) -> Reply:
        self.times.append(now() - self.began)
        return self.answer(request)


def answer(request: Request) -> Reply:
    return reply(RUN if "/runs" in request.path else THREAD)


def a_minute(requests: float) -> RateLimits:
    return RateLimits(requests_per_minute=requests)


class TestARefusal:
    @pytest.mark.parametrize("asked", [{}, {"retry_after": "20"}])
    async def test_pause_and_recovery(self, asked: dict[str, str]) -> None:
        """After a 429 response, nothing comes for as long as it asks; then requests of all, evenly and faster."""
        refused = 0

        def once(request: Request) -> Reply:
            nonlocal refused
            refused += 1
            return error(429, **asked) if refused == 1 else reply(THREAD)

        timed = Timed(once)
        async with Stub(timed) as stub, stub.session() as session:
            await session.threads.create()
            async with anyio.create_task_group() as tasks:
                for _ in range(40):
                    tasks.start_soon(session.threads.create)
            pause = float(asked.get("retry_after", "1"))
            assert timed.times[0] == 0
            assert timed.times[1] >= pause
            gaps = [later - earlier for earlier, later in pairwise(timed.times[2:])]
            assert min(gaps) > 0.01
            assert gaps[0] > 3 * gaps[-1]
            assert timed.times[-1] < pause + 15
            await anyio.sleep(90)
            await session.threads.create()
            assert not session._transport.turns.is_active

    @pytest.mark.parametrize("final", [reply(NO_CREDIT, 429), error(429, x_should_retry="false")])
    async def test_for_good(self, final: Reply) -> None:
        """A 429 response that waiting cannot help against delays nobody, and is not repeated."""
        timed = Timed(lambda request: final)
        async with Stub(timed) as stub, stub.session() as session:
            for _ in range(3):
                with pytest.raises(RateLimitError):
                    await session.threads.create()
            async with run_batch(session, [RunJob(assistant_id="a")]) as results:
                (result,) = [result async for result in results]
        assert timed.times == [0] * 4
        assert result.attempts == 1

    @pytest.mark.parametrize(
        ("head", "pause"), [({"retry_after": "20"}, 21), ({"retry_after": "20", "x_should_retry": "false"}, 0)]
    )
    async def test_a_body_that_is_cut_off(self, head: dict[str, str], pause: float) -> None:
        """The head alone decides about the pause, too."""
        replies = iter([error(429, **head).cut(3), reply(RUN)])
        timed = Timed(lambda request: next(replies))
        async with Stub(timed) as stub, stub.session() as session:
            await session.runs.retrieve(thread_id="thread_1", run_id="run_1")
        assert timed.times == [0, pytest.approx(pause, abs=0.1)]


class TestFollowing:
    @pytest.mark.unmeasured
    async def test_an_outage_does_not_count_turns(self) -> None:
        """An outage counts from when a request was sent: waiting for its turn is none."""
        replies = iter([reply(RUN | {"status": "queued"}), error(500), error(500), reply(RUN)])

        def answer(request: Request) -> Reply:
            return reply(THREAD) if request.method == "POST" else next(replies)

        async with (
            Stub(answer) as stub,
            stub.session(max_retries=0, rate_limits=a_minute(10)) as session,
            anyio.create_task_group() as others,
        ):
            for _ in range(50):
                others.start_soon(session.threads.create)
            polling = Polling(first=0.1, longest=0.1, outage=10)
            run = await session.runs.complete(thread_id="thread_1", run_id="run_1", polling=polling)
            others.cancel_scope.cancel()
        assert run.status == "completed"


class TestABatch:
    def jobs(self, count: int, *, on_threads: bool = False) -> list[RunJob]:
        if on_threads:
            return [{"assistant_id": "a", "thread_id": f"thread_{number}"} for number in range(count)]
        return [{"assistant_id": "a"}] * count

    @pytest.mark.parametrize("on_threads", [True, False])
    @pytest.mark.parametrize("limits", [a_minute(60), RateLimits(tokens_per_minute=60_000, tokens_per_run=1000)])
    async def test_deadlines_do_not_count_turns(self, limits: RateLimits, on_threads: bool) -> None:
        """A job that has to wait for its turn longer than its deadline does not fail of it: it has not been sent."""
        timed = Timed(answer)
        async with (
            Stub(timed) as stub,
            stub.session(rate_limits=limits) as session,
            run_batch(
                session, self.jobs(12, on_threads=on_threads), workers=12, deadline=3, fetch_messages=False
            ) as results,
        ):
            ended = [result async for result in results]
        assert [result.error for result in ended] == [None] * 12
        assert [result.attempts for result in ended] == [1] * 12
        assert timed.times[-1] > 8

    @pytest.mark.parametrize("limits", [RateLimits(), RateLimits(tokens_per_minute=60)])
    async def test_deadlines_do_not_count_refusals(self, limits: RateLimits) -> None:
        """Nor does it while the session has to wait after a 429 response, which leaves no doubt."""
        replies = iter([error(429, retry_after="30"), reply(RUN)])
        async with (
            Stub(lambda request: next(replies)) as stub,
            stub.session(rate_limits=limits) as session,
            run_batch(session, self.jobs(1), deadline=3, fetch_messages=False) as results,
        ):
            (result,) = [result async for result in results]
        assert (result.error, result.attempts) == (None, 1)

    async def test_deadlines_do_not_count_a_new_token(self) -> None:
        """Nor while a request whose token was refused waits for the turn of its second attempt."""
        keys = iter(["token-one", "token-two"])

        async def api_key() -> str:
            return next(keys)

        replies = iter([error(401), reply(RUN)])
        async with (
            Stub(lambda request: next(replies)) as stub,
            stub.session(api_key=api_key, rate_limits=a_minute(6)) as session,
            run_batch(session, self.jobs(1), deadline=3, fetch_messages=False) as results,
        ):
            (result,) = [result async for result in results]
        assert (result.error, result.attempts) == (None, 1)

    async def test_deadlines_do_count(self) -> None:
        """From when its request was sent, a job has the whole deadline, and no more."""
        async with (
            Stub(lambda request: NEVER) as stub,
            stub.session(timeout=1000, rate_limits=a_minute(6)) as session,
            run_batch(session, self.jobs(2), deadline=100, retries=None) as results,
        ):
            began, times = now(), []
            async for result in results:
                times.append(now() - began)
                assert result.error.maybe_done
        assert times == [pytest.approx(105, abs=0.1), pytest.approx(115, abs=0.1)]

    @pytest.mark.parametrize("on_exit", ["cancel", "leave"])
    @pytest.mark.parametrize("on_threads", [True, False])
    async def test_leaving_while_it_waits(self, on_exit: Any, on_threads: bool) -> None:
        """Jobs that wait for their turns when the batch is left are not started, and nobody waits for them."""
        timed = Timed(answer)
        jobs = self.jobs(6, on_threads=on_threads)
        async with Stub(timed) as stub, stub.session(rate_limits=a_minute(6)) as session:
            async with run_batch(session, jobs, on_exit=on_exit, fetch_messages=False) as results:
                await anext(results)
                left_at = now()
            assert now() == left_at
            assert len(stub.requests) == 1
            assert session._transport.turns.waiting == 0
        unstarted = [(result.run, result.attempts, result.started_at) for result in results.left]
        assert unstarted == [(None, 0, None)] * 5

    async def test_leaving_while_it_waits_again(self) -> None:
        """An attempt that was made before counts."""
        async with (
            Stub(lambda request: error(503)) as stub,
            stub.session(rate_limits=a_minute(6), max_retries=0) as session,
            run_batch(session, self.jobs(1), retries=JobRetries(first=0)) as results,
        ):
            await anyio.sleep(5)
        (left,) = results.left
        assert (left.run, left.attempts, len(stub.requests)) == (None, 1, 1)
        assert left.started_at is not None


class TestClosing:
    @pytest.mark.parametrize("limits", [a_minute(20), RateLimits(tokens_per_minute=20, tokens_per_run=20)])
    async def test_whoever_waits_fails(self, limits: RateLimits) -> None:
        """Closing a session ends all waits for turns at once, with an error that says why; nothing is sent then."""
        ends: list[tuple[float, str]] = []
        began = now()

        async def create(session: Session) -> None:
            try:
                await session.threads.create_and_run(assistant_id="a")
            except RuntimeError as error:
                ends.append((now() - began, str(error)))

        async with Stub(answer) as stub, anyio.create_task_group() as tasks:
            async with stub.session(rate_limits=limits) as session:
                for _ in range(4):
                    tasks.start_soon(create, session)
                await anyio.sleep(0.5)
            tasks.start_soon(create, session)
            await anyio.wait_all_tasks_blocked()
            assert len(stub.requests) == 1
        assert ends == [(pytest.approx(0.5), "this Session is closed")] * 4

    async def test_while_it_asks_for_a_token(self) -> None:
        """Nor is anything sent if the session is closed while the api_key function is at work."""

        async def api_key() -> str:
            await anyio.sleep(5)
            return "key"

        async with Stub(answer) as stub:
            async with stub.session(api_key=api_key) as session:
                creating = asyncio.create_task(session.threads.create())
                await anyio.sleep(1)
            with pytest.raises(RuntimeError, match="this Session is closed"):
                await creating
        assert stub.requests == []

    async def test_opened_again(self) -> None:
        """A session that is opened again holds back as before."""
        timed = Timed(answer)
        async with Stub(timed) as stub:
            session = stub.session(rate_limits=a_minute(6))
            for _ in range(2):
                async with session:
                    await session.threads.create()
        assert timed.times == [0, pytest.approx(10, abs=0.1)]


class TestCharges:
    async def test_cancelled_before_it_was_sent(self) -> None:
        """A run that was cancelled while its request waited gives back its tokens, for the next one."""
        limits = RateLimits(requests_per_minute=6, tokens_per_minute=60, tokens_per_run=60)
        async with Stub(answer) as stub, stub.session(rate_limits=limits) as session:
            await session.threads.create()
            with anyio.move_on_after(5):
                await session.threads.create_and_run(assistant_id="a")
            began = now()
            await session.threads.create_and_run(assistant_id="a")
        assert now() - began == pytest.approx(5, abs=0.1)

    async def test_without_a_token(self) -> None:
        """So does one whose api_key function failed."""
        keys = iter([None, "key"])

        async def api_key() -> str:
            if (key := next(keys)) is None:
                raise LookupError("no login")
            return key

        limits = RateLimits(tokens_per_minute=60, tokens_per_run=60)
        async with Stub(answer) as stub, stub.session(api_key=api_key, rate_limits=limits) as session:
            with pytest.raises(LookupError):
                await session.threads.create_and_run(assistant_id="a")
            began = now()
            await session.threads.create_and_run(assistant_id="a")
        assert now() == pytest.approx(began)

    async def test_refused(self) -> None:
        """So does one that was refused and is not repeated, or was cancelled in the pause after it."""
        replies = iter([error(429, retry_after="5"), error(429, retry_after="30"), reply(RUN)])
        limits = RateLimits(tokens_per_minute=60, tokens_per_run=60)
        async with Stub(lambda request: next(replies)) as stub, stub.session(rate_limits=limits) as session:
            with anyio.move_on_after(10):
                await session.threads.create_and_run(assistant_id="a")
            began = now()
            await session.threads.create_and_run(assistant_id="a")
        assert now() - began < 30

    async def test_cancelled_on_its_way(self) -> None:
        """A run that may have been started stays charged."""
        replies = iter([NEVER, reply(RUN)])
        limits = RateLimits(tokens_per_minute=60, tokens_per_run=60)
        async with Stub(lambda request: next(replies)) as stub, stub.session(rate_limits=limits) as session:
            with anyio.move_on_after(5):
                await session.threads.create_and_run(assistant_id="a")
            began = now()
            await session.threads.create_and_run(assistant_id="a")
        assert now() - began == pytest.approx(55, abs=1.1)


class TestTokens:
    async def test_asked_for_when_it_is_sent(self) -> None:
        """The api_key function is asked when the turn has come, also for the second attempt after a 401 response."""
        asked: list[float] = []

        async def api_key() -> str:
            asked.append(now() - timed.began)
            return f"token-{len(asked)}"

        replies = iter([reply(THREAD), error(401), reply(THREAD)])
        timed = Timed(lambda request: next(replies))
        async with Stub(timed) as stub, stub.session(api_key=api_key, rate_limits=a_minute(10)) as session:
            await session.threads.create()
            await session.threads.create()
        assert asked == timed.times == [0, pytest.approx(6, abs=0.1), pytest.approx(12, abs=0.1)]

    async def test_a_failure_gives_the_turn_back(self) -> None:
        """A request that was not sent, since there is no token, leaves its turn to the next one."""
        keys = iter([None, "key"])

        async def api_key() -> str:
            if (key := next(keys)) is None:
                raise LookupError("no login")
            return key

        timed = Timed(answer)
        async with Stub(timed) as stub, stub.session(api_key=api_key, rate_limits=a_minute(1)) as session:
            with pytest.raises(LookupError):
                await session.threads.create()
            await session.threads.create()
        assert timed.times == [0]
