"""A run whose stream was opened, and whose ID did not arrive: how its creation finds it."""

import logging
from typing import Any

import pytest

from openai_runs.errors import BadRequestError, ResponseError, TransportError
from openai_runs.following.polling import Polling
from openai_runs.pacing import RateLimits
from openai_runs.pacing.pace import Pace
from openai_runs.services.runs import MARKER
from tests.following.story import CREATED, EMPTY, framed, run, stream
from tests.stub import CUT, Reply, Stub, error, reply

pytestmark = pytest.mark.anyio

SUPPORTED = {"idempotency_key_supported": "true"}
QUICK = Polling(first=0.001, longest=0.01, outage=0.0)
UNDER_WAY = error(409, "under way", **SUPPORTED)


def honouring(answer: Reply) -> Reply:
    """The response of an endpoint that honours keys."""
    first, rest = answer.data.split(b"\r\n", 1)
    return Reply(first + b"\r\nIdempotency-Key-Supported: true\r\n" + rest, answer.then)


def beheaded(*, honoured: bool = True) -> Reply:
    """A stream that breaks before its first event."""
    head = Reply(stream().data[:-5], "close")
    return honouring(head) if honoured else head


def opening(session: Any, new_thread: bool, **options: Any) -> Any:
    options = {"assistant_id": "asst_1", "polling": QUICK, **options}
    return session.threads.stream_run(**options) if new_thread else session.runs.stream("thread_1", **options)


@pytest.mark.parametrize("new_thread", [False, True])
async def test_by_the_key(new_thread: bool) -> None:
    """The same request again, with its key and its body, returns the run."""
    lists = reply({"object": "list", "data": [], "has_more": False}), EMPTY
    async with (
        Stub(beheaded(), reply(run("completed"), **SUPPORTED), *lists) as stub,
        stub.session() as session,
        opening(session, new_thread) as events,
    ):
        assert (await events.until_done()).id == "run_1"
    first, second = stub.requests[:2]
    assert (first.method, first.target, first.body) == (second.method, second.target, second.body)
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


@pytest.mark.parametrize("honoured", [True, False])
async def test_the_first_look_fails(honoured: bool) -> None:
    """The look for the run is repeated like any poll, although no outage is tolerated."""
    ended = run("completed", metadata={MARKER: "k"})
    found = reply(ended, **SUPPORTED) if honoured else reply({"object": "list", "data": [ended], "has_more": False})
    answers = beheaded(honoured=honoured), error(503), CUT, found, EMPTY, EMPTY
    async with (
        Stub(*answers) as stub,
        stub.session(max_retries=2) as session,
        opening(session, new_thread=False, idempotency_key="k") as events,
    ):
        assert (await events.until_done()).id == "run_1"


async def test_by_the_key_after_the_first_response() -> None:
    """Where it is known that keys are honoured, a run has no marker, and is found all the same."""
    answers = reply(run("queued"), **SUPPORTED), beheaded(), reply(run("completed"), **SUPPORTED), EMPTY, EMPTY
    async with Stub(*answers) as stub, stub.session() as session:
        await session.runs.retrieve(thread_id="thread_1", run_id="run_1")
        async with opening(session, new_thread=False) as events:
            await events.until_done()
    assert "metadata" not in stub.requests[1].json


@pytest.mark.parametrize("new_thread", [False, True])
async def test_left_before_the_first_event(new_thread: bool) -> None:
    """With `on_exit="cancel"`, a run that is left before its ID has come is found by its key, and cancelled."""
    goes_on = honouring(Reply(stream().data[:-5], "hang"))
    answers = goes_on, reply(run("queued"), **SUPPORTED), reply(run("cancelling"))
    async with (
        Stub(*answers) as stub,
        stub.session() as session,
        opening(session, new_thread, on_exit="cancel") as events,
    ):
        pass
    assert events.run.status == "cancelling"
    assert stub.requests[-1].path == "/v1/threads/thread_1/runs/run_1/cancel"


async def test_a_start_that_never_arrived() -> None:
    """If the repetition opens a stream, the run was started by it; asked once more, the endpoint returns the run."""
    streamed = honouring(Reply(stream(*framed(CREATED)).data[:-5], "hang"))
    found = reply(run("queued"), **SUPPORTED)
    answers = CUT, reply({"object": "list", "data": []}, **SUPPORTED), streamed, found, reply(run("cancelling"))
    async with Stub(*answers) as stub, stub.session(max_retries=0) as session:
        opened = opening(session, new_thread=True, on_exit="cancel")
        with pytest.raises(TransportError):
            await opened.__aenter__()
        assert [request.path.rpartition("/")[2] for request in stub.requests] == [
            *("runs", "assistants", "runs", "runs", "cancel")
        ]


@pytest.mark.unmeasured
async def test_under_way(caplog: pytest.LogCaptureFixture) -> None:
    """While the first request is under way, the run is not found."""
    goes_on = honouring(Reply(stream().data[:-5], "hang"))
    async with Stub(goes_on, *[UNDER_WAY] * 20) as stub, stub.session() as session:
        with caplog.at_level(logging.WARNING, "openai_runs.runs"):
            async with opening(session, new_thread=True, on_exit="cancel"):
                pass
    assert "could not be cancelled" in caplog.text


async def test_keys_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    """At an endpoint that ignores keys, a run on a new thread cannot be found; one on a known thread has a marker."""
    async with Stub(beheaded(honoured=False)) as stub, stub.session() as session:
        async with opening(session, new_thread=True) as events:
            with pytest.raises(TransportError, match=r"broke off.*may have been started"):
                await events.until_done()
        assert len(stub.requests) == 1
    found = {"object": "list", "data": [run("completed", metadata={MARKER: "k"})], "has_more": False}
    async with Stub(beheaded(honoured=False), reply(found), EMPTY, EMPTY) as stub, stub.session() as session:
        async with opening(session, new_thread=False, idempotency_key="k") as events:
            assert (await events.until_done()).id == "run_1"
        assert stub.requests[0].json["metadata"] == {MARKER: "k"}


@pytest.mark.parametrize("refusal", [error(429), error(400)])
async def test_a_run_that_cannot_be_looked_for(refusal: Reply) -> None:
    """A stream that broke before its first event was opened, so a run was started: a failed look does not deny it."""
    async with Stub(beheaded(), refusal) as stub, stub.session(max_retries=0) as session:
        async with opening(session, new_thread=True, polling=Polling(outage=0.0)) as events:
            with pytest.raises(ResponseError) as caught:
                await events.until_done()
        assert caught.value.maybe_done
        assert "broke off" in caught.value.__notes__[-1]


class TestTokens:
    """What a new run is charged while tokens are limited."""

    LIMITS = RateLimits(tokens_per_minute=600_000)
    ENDED = run("completed", usage={"prompt_tokens": 300, "completion_tokens": 100, "total_tokens": 400})

    @staticmethod
    def pace(session: Any) -> Pace:
        pace = session._transport.turns._pace
        assert isinstance(pace, Pace)
        return pace

    @pytest.fixture
    def charges(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """What is charged, and given back."""
        charges: list[float] = []
        take, give_back, settle = Pace.take, Pace.give_back, Pace.settle

        def recorded_take(pace: Pace, turn: Any, now: float) -> Any:
            taken = take(pace, turn, now)
            charges.extend([taken.tokens] if taken.tokens else [])
            return taken

        def recorded_give_back(pace: Pace, taken: Any, now: float) -> None:
            charges.extend([-taken.tokens] if taken.tokens else [])
            give_back(pace, taken, now)

        def recorded_settle(pace: Pace, run_id: str, used: float | None, now: float) -> None:
            before = pace.costs._open.get(run_id)
            settle(pace, run_id, used, now)
            charges.extend([used - before[0]] if before and used is not None else [])

        monkeypatch.setattr(Pace, "take", recorded_take)
        monkeypatch.setattr(Pace, "give_back", recorded_give_back)
        monkeypatch.setattr(Pace, "settle", recorded_settle)
        return charges

    @pytest.mark.parametrize("new_thread", [False, True])
    @pytest.mark.parametrize("how", ["retrieve", "complete", "stream", "no stream"])
    async def test_settled(self, charges: list[float], new_thread: bool, how: str) -> None:
        """A run is charged the guess when it is created, and the rest is given back when its end is seen, however."""
        started = [("thread.run.created", run("queued")), ("thread.run.completed", self.ENDED)]
        if new_thread:
            started.insert(0, ("thread.created", {"id": "thread_1", "object": "thread", "created_at": 0}))
        replies = (
            [stream(*framed(*started))] if how == "stream" else [reply(run("queued")), reply(self.ENDED), EMPTY, EMPTY]
        )
        async with Stub(*replies) as stub, stub.session(rate_limits=self.LIMITS) as session:
            if "stream" in how:
                async with opening(session, new_thread) as events:
                    await events.until_done()
            else:
                service = session.threads.create_and_run if new_thread else session.runs.create
                created = await service(*([] if new_thread else ["thread_1"]), assistant_id="asst_1")
                if how == "retrieve":
                    await session.runs.retrieve(created)
                else:
                    await session.runs.complete(created, polling=QUICK)
            assert self.pace(session).costs.estimate == 400
        assert charges == [1000, -600]

    async def test_charged_once(self, charges: list[float]) -> None:
        """However often the request is sent, the run is charged once; one that is refused is not charged."""
        replies = error(503), error(503), reply(run("queued")), error(400)
        async with Stub(*replies) as stub, stub.session(rate_limits=self.LIMITS) as session:
            await session.threads.create_and_run(assistant_id="asst_1")
            with pytest.raises(BadRequestError):
                await session.threads.create_and_run(assistant_id="asst_1")
        assert charges == [1000, 1000, -1000]

    async def test_in_doubt(self, charges: list[float]) -> None:
        """A run that may have been started stays charged."""
        async with Stub(CUT) as stub, stub.session(rate_limits=self.LIMITS, max_retries=0) as session:
            with pytest.raises(TransportError):
                await session.threads.create_and_run(assistant_id="asst_1")
        assert charges == [1000]

    async def test_other_objects(self, charges: list[float]) -> None:
        """Only runs use tokens."""
        thread = {"id": "thread_1", "object": "thread", "created_at": 0, "metadata": {}, "tool_resources": None}
        async with Stub(reply(thread)) as stub, stub.session(rate_limits=self.LIMITS) as session:
            await session.threads.create()
        assert charges == []
