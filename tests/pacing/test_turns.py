"""`Turns`: who goes first, what cancellation leaves behind, what a batch gets out of limits. The clock is a number."""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import pairwise

import anyio
import pytest
from attrs import define, field

from openai_runs import RateLimits, Run, load
from openai_runs.models.run import RunStatus
from openai_runs.pacing.pace import Taken, Turn
from openai_runs.pacing.turns import Turns, turn_of
from tests.following.story import run

pytestmark = pytest.mark.anyio

ONE_A_SECOND = RateLimits(requests_per_minute=60)


def now() -> float:
    return asyncio.get_running_loop().time()


def ended(tokens: int | None, id: str = "run_1") -> Run:
    usage = None if tokens is None else {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
    return load(run("completed", usage=usage, id=id), Run)


@pytest.mark.parametrize(
    ("method", "path", "turn"),
    [
        ("GET", "/v1/threads/t/runs/r", Turn.READ),
        ("POST", "/v1/threads/t/runs/r/cancel", Turn.CONTINUE),
        ("POST", "/v1/threads/t/runs/r/submit_tool_outputs", Turn.CONTINUE),
        ("POST", "/v1/threads/t/runs", Turn.BEGIN),
        ("DELETE", "/v1/threads/t", Turn.BEGIN),
    ],
)
def test_turn_of(method: str, path: str, turn: Turn) -> None:
    """What goes on with work that has begun is told from what begins new work."""
    assert turn_of(method, path) is turn


class TestOrder:
    async def test_of_arrival(self) -> None:
        """Those who wait for the same go in order of arrival, evenly."""
        turns, order, began = Turns(ONE_A_SECOND), [], now()

        async def one(number: int) -> None:
            await turns.take(Turn.BEGIN)
            order.append((number, now() - began))

        async with anyio.create_task_group() as group:
            for number in range(6):
                group.start_soon(one, number)
        assert [number for number, _ in order] == [0, 1, 2, 3, 4, 5]
        assert [at for _, at in order] == pytest.approx([0, 1, 2, 3, 4, 5], abs=1e-3)
        assert turns.waiting == 0

    async def test_what_ends_work_goes_first(self) -> None:
        """A cancellation does not wait behind a thousand new runs."""
        turns, began = Turns(ONE_A_SECOND), now()
        async with anyio.create_task_group() as group:
            for _ in range(1000):
                group.start_soon(turns.take, Turn.BEGIN)
            await anyio.sleep(0.5)
            await turns.take(Turn.CONTINUE)
            assert now() - began == pytest.approx(1, abs=1e-3)
            group.cancel_scope.cancel()
        assert turns.waiting == 0

    async def test_polls_take_half(self) -> None:
        """However many polls wait, new work gets every second turn; and polls wait for it in their order of arrival."""
        turns, order = Turns(RateLimits(requests_per_minute=60)), []

        async def take(turn: Turn) -> None:
            await turns.take(turn)
            if turn is Turn.POLL:
                await turns.take(Turn.READ)
            order.append(turn)

        async with anyio.create_task_group() as group:
            for turn in [Turn.POLL] * 100 + [Turn.BEGIN] * 4:
                group.start_soon(take, turn)
            await anyio.sleep(8.5)
            group.cancel_scope.cancel()
        assert Counter(order[1:9]) == {Turn.POLL: 4, Turn.BEGIN: 4}

    async def test_a_poll_that_comes_later(self) -> None:
        """A poll waits behind new work that came before it: it shows more when it is late."""
        turns, order = Turns(ONE_A_SECOND), []

        async def take(turn: Turn) -> None:
            await turns.take(turn)
            order.append(turn)

        await turns.take(Turn.BEGIN)
        async with anyio.create_task_group() as group:
            for turn in (Turn.BEGIN, Turn.BEGIN, Turn.POLL):
                group.start_soon(take, turn)
        assert order == [Turn.BEGIN, Turn.BEGIN, Turn.POLL]

    async def test_tokens_hold_up_runs_only(self) -> None:
        """While runs wait for tokens, other requests and polls go on."""
        turns = Turns(RateLimits(requests_per_minute=6000, tokens_per_minute=60))
        await turns.take(Turn.RUN)
        async with anyio.create_task_group() as group:
            group.start_soon(turns.take, Turn.RUN)
            await anyio.sleep(1)
            began = now()
            for turn in (Turn.BEGIN, Turn.READ, Turn.CONTINUE, Turn.IDLE_POLL):
                await turns.take(turn)
            assert (now(), turns.waiting) == (began, 1)
            group.cancel_scope.cancel()


class TestCancellation:
    async def test_in_the_line(self) -> None:
        """Whoever leaves the line leaves nothing: the others move up."""
        turns, began = Turns(ONE_A_SECOND), now()
        await turns.take(Turn.BEGIN)
        tasks = [asyncio.create_task(turns.take(Turn.BEGIN)) for _ in range(100)]
        await asyncio.sleep(0.5)
        for task in tasks[:-1]:
            task.cancel()
        await tasks[-1]
        assert now() - began == pytest.approx(1, abs=1e-3)
        assert turns.waiting == 0
        assert turns._timer is None

    async def test_as_the_turn_comes(self) -> None:
        """A turn that comes together with the cancellation is given back."""
        turns, began = Turns(ONE_A_SECOND), now()
        await turns.take(Turn.BEGIN)
        first, second = (asyncio.create_task(turns.take(Turn.BEGIN)) for _ in range(2))
        await asyncio.sleep(1 - 1e-9)
        turns._serve()
        assert turns.waiting == 1
        first.cancel()  # before it has run
        await second
        assert now() - began == pytest.approx(1, abs=1e-3)
        assert first.cancelled()
        assert turns.waiting == 0

    async def test_a_line_that_is_cancelled_at_once(self) -> None:
        """Waiters whose tasks are being cancelled are passed over."""
        turns = Turns(ONE_A_SECOND)
        await turns.take(Turn.BEGIN)
        tasks = [asyncio.create_task(turns.take(Turn.BEGIN)) for _ in range(3)]
        await asyncio.sleep(0)
        taken = Taken(Turn.BEGIN, now())
        tasks[0].cancel()
        tasks[1].cancel()
        turns.give_back(taken)  # served before the cancelled tasks have run
        await tasks[2]
        assert turns.waiting == 0


class TestClosing:
    async def test_all_go_on(self) -> None:
        """Once it is closed, nobody waits, whatever for; those who are being cancelled are passed over."""
        turns, began = Turns(RateLimits(requests_per_minute=1, tokens_per_minute=1)), now()
        for turn in (Turn.BEGIN, Turn.RUN):
            await turns.take(turn)
        tasks = [asyncio.create_task(turns.take(turn)) for turn in (Turn.BEGIN, Turn.RUN, Turn.BEGIN)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        turns.close()
        results = await asyncio.gather(*tasks, turns.take(Turn.RUN), return_exceptions=True)
        assert [type(result) for result in results] == [asyncio.CancelledError, Taken, Taken, Taken]
        assert (now(), turns.waiting) == (began, 0)


class TestResponses:
    async def test_a_refusal_slows_all(self) -> None:
        """After one 429 response, nobody sends until it allows that, and then one after another."""
        turns, began, times = Turns(RateLimits()), now(), []
        assert not turns.is_active
        turns.note_refusal(None, {}, 5.0)
        assert turns.is_active
        turns.note_refusal(None, {}, None)

        async def one() -> None:
            taken = await turns.take(Turn.BEGIN)
            times.append(now() - began)
            turns.note_response(taken, {})

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(one)
        assert times[0] > 5
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert min(gaps) > 0.05
        assert gaps[0] > gaps[-1]

    async def test_the_limit_goes_away(self) -> None:
        """After a quiet minute, a session that was refused once pays nothing any more."""
        turns = Turns(RateLimits())
        turns.note_refusal(None, {}, 1.0)
        await turns.take(Turn.BEGIN)
        await anyio.sleep(61)
        await turns.take(Turn.BEGIN)
        assert not turns.is_active

    async def test_refusals_far_apart(self) -> None:
        """After a limit went away, or idle time, the next refusal costs no more than the first one did."""

        async def hundred(taken: Taken | None) -> float:
            turns.note_refusal(taken, {}, None)
            began = now()
            for _ in range(100):
                turns.note_response(await turns.take(Turn.BEGIN), {})
            return now() - began

        turns = Turns(RateLimits())
        first = await hundred(None)
        await anyio.sleep(200)
        await turns.take(Turn.BEGIN)
        assert not turns.is_active
        await anyio.sleep(100)
        assert await hundred(None) == pytest.approx(first)
        await anyio.sleep(40)
        taken = await turns.take(Turn.BEGIN)
        assert turns.is_active
        assert await hundred(taken) == pytest.approx(first, rel=0.1)

    async def test_a_refusal_for_good(self) -> None:
        """A 429 response that says that repeating is of no use slows nobody."""
        turns = Turns(RateLimits())
        turns.note_refusal(None, {}, 5.0, is_final=True)
        assert not turns.is_active

    async def test_headers_set_limits(self) -> None:
        """Headers of any response make requests and runs take turns."""
        turns = Turns(RateLimits())
        turns.note_response(None, {"x-ratelimit-limit-requests": "60", "x-ratelimit-limit-tokens": "60"})
        assert turns.is_active
        assert turns.limits_tokens
        turns = Turns(RateLimits())
        turns.note_refusal(None, {"x-ratelimit-limit-tokens": "60"}, None, is_final=True)
        assert (turns.is_active, turns.limits_tokens) == (False, True)

    async def test_what_a_run_used_counts(self) -> None:
        """A run that ends below what was charged lets the next one go at once; one that goes on settles nothing."""
        turns = Turns(RateLimits(tokens_per_minute=60_000))
        taken = await turns.take(Turn.RUN)
        turns.start_run(ended(1), taken)
        waiting = asyncio.create_task(turns.take(Turn.RUN))
        await asyncio.sleep(0)
        turns.see_run(load(run("in_progress"), Run))
        assert turns.waiting == 1
        turns.see_run(ended(1))
        began = now()
        assert (await waiting).tokens == 1
        assert now() - began == pytest.approx(0, abs=1e-3)
        turns.see_run(ended(None))


@define
class Endpoint:
    """Limits of its own, as token buckets; and how many requests it has refused."""

    requests: float  #: a second
    tokens: float  #: a second
    used: list[float] = field(factory=lambda: [0.0, 0.0])
    at: float = field(factory=now)
    count: int = 0
    refused: int = 0

    def refuses(self, tokens: float) -> float | None:
        """Seconds to wait, if it refuses a request."""
        elapsed, self.at = now() - self.at, now()
        rates, costs, self.count = (self.requests, self.tokens), (1.0, tokens), self.count + 1
        self.used = [max(used - elapsed * rate, 0.0) for used, rate in zip(self.used, rates, strict=True)]
        each = zip(self.used, rates, costs, strict=True)
        if (wait := max((used + cost) / rate - 5.0 for used, rate, cost in each)) > 0:
            self.refused += 1
            return math.ceil(wait)
        self.used = [used + cost for used, cost in zip(self.used, costs, strict=True)]
        return None


@define
class Batch:
    """Jobs without end on such an endpoint, by so many workers."""

    turns: Turns
    endpoint: Endpoint
    tokens: tuple[int, int]
    reads: int = 0  #: of what a run has written
    done: int = 0
    created: int = 0

    async def request(self, turn: Turn, tokens: float = 0.0) -> None:
        while True:
            taken = await self.turns.take(turn) if self.turns.is_active else None
            wait = self.endpoint.refuses(tokens)
            if wait is None:
                self.turns.note_response(taken, {})
                return
            self.turns.note_refusal(taken, {}, wait)
            await anyio.sleep(wait)

    async def work(self) -> None:
        while True:
            used = random.randint(*self.tokens)
            taken = await self.turns.take(Turn.RUN)
            await self.request(Turn.BEGIN, used)
            self.created += 1
            last = ended(used, f"run_{self.created}")
            self.turns.start_run(last, taken)
            ends_at, status = now() + random.uniform(1, 4), RunStatus.QUEUED
            while not status.is_terminal:
                await anyio.sleep(0.5)
                await self.turns.take(Turn.IDLE_POLL)
                await self.request(Turn.READ)
                if now() >= ends_at:
                    status = last.status
            self.turns.see_run(last)
            for _ in range(self.reads):
                await self.request(Turn.READ)
            self.done += 1


async def run_for(seconds: float, workers: int, work: Callable[[], Awaitable[None]]) -> None:
    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as group:
            for _ in range(workers):
                group.start_soon(work)


@pytest.mark.unmeasured
@pytest.mark.parametrize(
    ("tokens", "reads", "allowed"),
    [
        pytest.param((100, 200), 0, 300, id="requests"),  # a run needs two: one that starts it, and one poll
        pytest.param((100, 200), 1, 200, id="requests-and-messages"),
        pytest.param((100, 200), 4, 100, id="requests-and-many-messages"),
        pytest.param((200, 1000), 1, 150, id="tokens"),
    ],
)
async def test_a_batch(tokens: tuple[int, int], reads: int, allowed: float) -> None:
    """At 600 requests and 90,000 tokens a minute, five minutes bring 95 % of what is allowed, 429 below 1 %."""
    random.seed(7)
    limits = RateLimits(requests_per_minute=600, tokens_per_minute=90_000)
    batch = Batch(Turns(limits), Endpoint(10.0, 1500.0), tokens, reads)
    await run_for(300, 100, batch.work)
    assert batch.done > 0.95 * allowed * 5
    assert batch.endpoint.refused < 0.01 * batch.endpoint.count


@pytest.mark.unmeasured
async def test_a_batch_that_knows_no_limits() -> None:
    """If the endpoint only says 429, a batch finds out what it bears: three quarters of it or more, few 429."""
    random.seed(7)
    batch = Batch(Turns(RateLimits()), Endpoint(10.0, 1500.0), (100, 200))
    await run_for(300, 100, batch.work)
    assert batch.done > 0.75 * 300 * 5
    assert batch.endpoint.refused < 0.05 * batch.endpoint.count


@pytest.mark.unmeasured
async def test_many_followers() -> None:
    """2,000 runs that are followed are not 2,000 polls a second; each is polled again after 2,000 / bound seconds."""
    turns, polled = Turns(RateLimits(polls_per_second=50)), []

    async def follow() -> None:
        last = now()
        while True:
            await anyio.sleep(0.5)
            await turns.take(Turn.IDLE_POLL)
            polled.append((now(), now() - last))
            last = now()

    began = now()
    await run_for(100, 2000, follow)
    assert len(polled) == pytest.approx(50 * 101, abs=60)
    assert max(gap for at, gap in polled if at > began + 45) <= 0.5 + 2000 / 50
    assert turns.waiting == 0
