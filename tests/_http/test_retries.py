"""Which requests are repeated, after which delay, and when their result is looked up before."""

import logging
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import anyio
import pytest
import stamina
from hypothesis import given
from hypothesis import strategies as st
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from openai_runs._http.key_support import KeySupport
from openai_runs._http.retries import (
    OwnError,
    Retry,
    is_final,
    is_outage,
    is_transient,
    is_unreachable,
    poll_hint,
    server_delay,
)
from openai_runs.errors import ProtocolError, ResponseError, TransportError

pytestmark = pytest.mark.anyio

LOST = TransportError("lost")
REFUSED = TransportError("refused", maybe_done=False)
NONSENSE = ProtocolError("nonsense", status=200)


def answered(status: int, **headers: str) -> ResponseError:
    return ResponseError("no", status=status, headers={name.replace("_", "-"): text for name, text in headers.items()})


class Server:
    """A request that fails as scripted, then succeeds; `find` returns what it has done."""

    def __init__(self, *attempts: Any, looks: Any = (), asks: Any = ()) -> None:
        self.attempts, self.looks, self.asks = list(attempts), list(looks), list(asks)
        self.log: list[str] = []
        self.keys = KeySupport(self.ask)

    async def send(self) -> str:
        self.log.append("send")
        return self._next(self.attempts)

    async def find(self) -> str | None:
        self.log.append("find")
        return self._next(self.looks)

    async def ask(self, _: Any) -> None:
        self.log.append("ask")
        self.keys.honoured = self._next(self.asks)

    def _next(self, outcomes: list[Any]) -> Any:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def request(self, *, repeatable: bool, find: bool = False, keyed: bool = False, max_retries: int = 2) -> str:
        """What the transport does: send once, and leave the rest to a `Retry`."""
        try:
            return await self.send()
        except (TransportError, ResponseError, ProtocolError) as error:
            failure = error
        keys = self.keys if keyed else None
        repetition = Retry(self.send, failure, self.find if find else None, repeatable=repeatable, keys=keys)
        return await repetition.run(max_retries)


class TestRepeatable:
    @pytest.mark.parametrize(
        "failure",
        [
            LOST,
            REFUSED,
            *map(answered, [408, 409, 429, 500, 502, 503, 504, 529]),
            answered(400, x_should_retry="true"),
            answered(429, retry_after="120"),
        ],
    )
    async def test_passing(self, failure: Exception) -> None:
        """A transient failure is retried, as often as allowed."""
        server = Server(failure, failure, "done")
        assert await server.request(repeatable=True) == "done"
        server = Server(failure, failure, "done")
        with pytest.raises(type(failure)) as caught:
            await server.request(repeatable=True, max_retries=1)
        assert caught.value is failure
        assert server.log == ["send", "send"]

    @pytest.mark.parametrize(
        "failure",
        [
            NONSENSE,
            *map(answered, [301, 400, 401, 403, 404, 410, 422]),
            answered(500, x_should_retry="false"),
            answered(429, retry_after="121"),
            answered(503, retry_after="1e99", x_should_retry="true"),
            answered(429, retry_after_ms="120001"),
            ResponseError("in a stream", status=None),
        ],
    )
    async def test_lasting(self, failure: Exception) -> None:
        """Other failures are raised at once; so is one whose server asks for more than two minutes."""
        server = Server(failure, "done")
        with pytest.raises(type(failure)):
            await server.request(repeatable=True)
        assert server.log == ["send"]

    async def test_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        """A retry is logged by us; stamina's warning is not printed where logging is not configured."""
        caplog.set_level(logging.INFO, "openai_runs")
        await Server(REFUSED, "done").request(repeatable=True)
        assert [r.getMessage() for r in caplog.records if r.name == "openai_runs.http"] == [
            "repeating a request that failed: refused"
        ]
        assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("stamina").handlers)

    async def test_other_errors(self) -> None:
        """Exceptions that are not failures of a request are not retried."""
        server = Server(LOST, KeyError("bug"), "done")
        with pytest.raises(KeyError):
            await server.request(repeatable=True)

    async def test_its_cause_is_kept(self) -> None:
        """The last error is raised, with its cause."""
        last = TransportError("lost as well")
        last.__cause__ = OSError(5, "why")
        with pytest.raises(TransportError) as caught:
            await Server(LOST, last).request(repeatable=True, max_retries=1)
        assert caught.value.__cause__.args == (5, "why")


class TestNotRepeatable:
    @pytest.mark.parametrize(
        "failure", [REFUSED, *map(answered, [409, 429, 503]), answered(500, x_should_retry="true")]
    )
    async def test_surely_not_done(self, failure: Exception) -> None:
        """A request that did not arrive, or of which the server says that it took no effect, is sent again."""
        assert await Server(failure, "done").request(repeatable=False) == "done"

    @pytest.mark.parametrize("failure", [LOST, NONSENSE, *map(answered, [408, 500, 502, 504])])
    async def test_in_doubt(self, failure: Exception) -> None:
        """A request that may have taken effect is not sent again."""
        server = Server(failure, "done")
        with pytest.raises(type(failure)):
            await server.request(repeatable=False)
        assert server.log == ["send"]


class TestLook:
    @pytest.mark.parametrize("failure", [LOST, *map(answered, [408, 500, 503])])
    async def test_it_was_done(self, failure: Exception) -> None:
        """After a failure that may have taken effect, `find` is called first, and its result returned."""
        server = Server(failure, looks=["found"])
        assert await server.request(repeatable=False, find=True) == "found"
        assert server.log == ["send", "find"]

    async def test_it_was_not_done(self) -> None:
        """If `find` finds nothing, the request is sent again."""
        server = Server(LOST, "done", looks=[None])
        assert await server.request(repeatable=False, find=True) == "done"
        assert server.log == ["send", "find", "send"]

    @pytest.mark.parametrize(("first", "in_doubt"), [(LOST, True), (answered(500), False)])
    async def test_a_request_may_come_late(self, first: Exception, in_doubt: bool) -> None:
        """That nothing is found settles the doubt about an attempt that was answered; one that was not may be late."""
        server = Server(first, answered(500), answered(429), looks=[None, None, None])
        with pytest.raises(ResponseError) as caught:
            await server.request(repeatable=False, find=True)
        assert (caught.value.status, caught.value.maybe_done) == (429, in_doubt)

    @pytest.mark.parametrize("failure", [REFUSED, answered(429)])
    async def test_no_doubt(self, failure: Exception) -> None:
        """After a failure that certainly took no effect, `find` is not called."""
        server = Server(failure, failure, "done")
        assert await server.request(repeatable=False, find=True) == "done"
        assert server.log == ["send", "send", "send"]
        server = Server(answered(400))
        with pytest.raises(ResponseError):
            await server.request(repeatable=False, find=True)
        assert server.log == ["send"]

    async def test_doubt_stays(self) -> None:
        """Once an attempt may have taken effect, `find` is called after each later failure, too."""
        server = Server(LOST, answered(429), "done", looks=[None, None])
        assert await server.request(repeatable=False, find=True) == "done"
        assert server.log == ["send", "find", "send", "find", "send"]

    async def test_it_arrived_late(self) -> None:
        """If the retry is refused, perhaps because of the first attempt, `find` is called once more."""
        server = Server(LOST, answered(400), looks=[None, "found"])
        assert await server.request(repeatable=False, find=True) == "found"
        server = Server(LOST, answered(400), looks=[None, None])
        with pytest.raises(ResponseError):
            await server.request(repeatable=False, find=True)

    async def test_without_repetition(self) -> None:
        """`find` is also called with max_retries=0."""
        assert await Server(LOST, looks=["found"]).request(repeatable=False, find=True, max_retries=0) == "found"
        with pytest.raises(TransportError):
            await Server(LOST, looks=[None]).request(repeatable=False, find=True, max_retries=0)

    async def test_an_unreadable_answer(self) -> None:
        """After an unreadable response the request is not repeated; its result is looked up."""
        assert await Server(NONSENSE, looks=["found"]).request(repeatable=False, find=True) == "found"
        assert await Server(LOST, NONSENSE, looks=[None, "found"]).request(repeatable=False, find=True) == "found"
        server = Server(NONSENSE, "twice", looks=[None])
        with pytest.raises(ProtocolError):
            await server.request(repeatable=False, find=True)
        assert server.log == ["send", "find"]

    async def test_the_look_fails_as_well(self) -> None:
        """If `find` always fails, nothing is repeated; the first error is raised, with maybe_done set."""
        lost = TransportError("lost")
        server = Server(lost, "twice", looks=[REFUSED, answered(500), ProtocolError("nonsense", status=200)])
        with pytest.raises(TransportError) as caught:
            await server.request(repeatable=False, find=True)
        assert caught.value is lost
        assert caught.value.maybe_done
        assert caught.value.__notes__ == ["Looking whether it took effect failed as well: nonsense"]
        assert server.log == ["send", *["find"] * 3]

    async def test_a_failed_look_is_no_attempt(self) -> None:
        """A look is repeated as often as any request, and the request itself no less often."""
        lost = [TransportError("lost"), TransportError("lost")]
        server = Server(*lost, "done", looks=[REFUSED, answered(503), None, answered(429), None])
        assert await server.request(repeatable=False, find=True) == "done"
        assert server.log == ["send", "find", "find", "find", "send", "find", "find", "send"]

    @pytest.mark.parametrize("last", [ProtocolError("nonsense", status=200), answered(400)])
    async def test_the_last_look_fails(self, last: Exception) -> None:
        """That holds for the look after a request is given up, too."""
        server = Server(TransportError("lost"), last, looks=[None, REFUSED, answered(503), "found"])
        assert await server.request(repeatable=False, find=True) == "found"
        assert server.log == ["send", "find", "send", "find", "find", "find"]

    async def test_the_look_fails_otherwise(self) -> None:
        """Whatever goes wrong while looking, the first error is raised: it says that there is a doubt."""
        lost = TransportError("lost")
        with pytest.raises(TransportError) as caught:
            await Server(lost, looks=[LookupError("no login")]).request(repeatable=False, find=True)
        assert caught.value is lost
        assert caught.value.__notes__ == ["Looking whether it took effect failed as well: LookupError"]

    async def test_not_sent_again(self) -> None:
        """A retry that the caller's own function prevents: its error, or the earlier one if that leaves a doubt."""
        own, lost = OwnError(LookupError("no login")), TransportError("lost")
        with pytest.raises(OwnError) as prevented:
            await Server(REFUSED, own).request(repeatable=True)
        assert prevented.value is own
        with pytest.raises(TransportError) as caught:
            await Server(lost, own, looks=[None]).request(repeatable=False, find=True)
        assert caught.value is lost
        assert caught.value.__notes__ == ["Repeating it failed, since api_key() raised LookupError."]

    async def test_doubt_about_an_update(self) -> None:
        """An update is repeated; if an earlier attempt may have taken effect, the last error says so."""
        refused = TransportError("refused", maybe_done=False)
        with pytest.raises(TransportError) as caught:
            await Server(TransportError("lost"), refused).request(repeatable=True, max_retries=1)
        assert caught.value is refused
        assert caught.value.maybe_done
        assert caught.value.__notes__ == ["An earlier attempt may have taken effect: lost"]
        read = Retry(Server(refused).send, TransportError("lost"), None, repeatable=True, changes_nothing=True)
        refused.maybe_done = False
        with pytest.raises(TransportError):
            await read.run(1)
        assert not refused.maybe_done

    async def test_the_look_succeeds_later(self) -> None:
        """`find` is called again once the endpoint is reachable."""
        server = Server(TransportError("lost"), looks=[REFUSED, "found"])
        assert await server.request(repeatable=False, find=True) == "found"

    async def test_maybe_done_wins(self) -> None:
        """If a retry is refused and `find` fails, the error is the earlier one, which may have taken effect."""
        lost = TransportError("lost")
        with pytest.raises(TransportError) as caught:
            await Server(lost, answered(400), looks=[None, *[REFUSED] * 3]).request(repeatable=False, find=True)
        assert caught.value is lost

    @given(
        attempts=st.lists(st.sampled_from(["refused", "lost", "held up", "answer lost", "busy", "broken"]), max_size=6),
        looks=st.lists(st.booleans(), max_size=8),
        max_retries=st.integers(0, 4),
    )
    def test_never_twice_never_lost(self, attempts: list[str], looks: list[bool], max_retries: int) -> None:
        """Whatever fails: at most one effect; its result is returned, or the error has maybe_done set."""
        server = _ActiveRuns(attempts, looks)

        async def request() -> str:
            try:
                return await server.create()
            except (TransportError, ResponseError) as error:
                failure = error
            return await Retry(server.create, failure, server.find, repeatable=False).run(max_retries)

        try:
            assert anyio.run(request) == "run"
        except TransportError as error:
            assert error.maybe_done or not server.runs  # noqa: PT017  # either outcome is fine, if the error says so
        except ResponseError as error:
            assert error.status == 500 or not server.runs  # noqa: PT017  # an error is one of two outcomes
        assert len(server.runs) <= 1


class TestKeys:
    """A request with an idempotency key, which the endpoint honours or not."""

    @pytest.mark.parametrize("failure", [LOST, NONSENSE, *map(answered, [408, 409, 500, 502, 503])])
    @pytest.mark.parametrize("find", [False, True])
    async def test_honoured(self, failure: Exception, find: bool) -> None:
        """A request in doubt is repeated, and nothing is looked up: the repetition has the result of the first."""
        server = Server(failure, failure, "done")
        server.keys.honoured = True
        assert await server.request(repeatable=False, find=find, keyed=True) == "done"
        assert server.log == ["send", "send", "send"]

    @pytest.mark.parametrize("failure", [*map(answered, [400, 404, 422]), answered(500, x_should_retry="false")])
    async def test_refused(self, failure: Exception) -> None:
        """What would be refused again is not repeated."""
        server = Server(failure)
        server.keys.honoured = True
        with pytest.raises(ResponseError):
            await server.request(repeatable=False, keyed=True)
        assert server.log == ["send"]

    @pytest.mark.parametrize("failure", [LOST, answered(500)])
    async def test_not_honoured(self, failure: Exception) -> None:
        """Where keys are ignored, a request in doubt is not repeated; one that had no effect is."""
        server = Server(failure, "twice")
        server.keys.honoured = False
        with pytest.raises(type(failure)):
            await server.request(repeatable=False, keyed=True)
        assert server.log == ["send"]
        server = Server(REFUSED, answered(503), "done")
        server.keys.honoured = False
        assert await server.request(repeatable=False, keyed=True) == "done"

    async def test_not_known(self) -> None:
        """Before anything is known, the endpoint is asked; only if there is a doubt."""
        server = Server(LOST, "done", asks=[True])
        assert await server.request(repeatable=False, keyed=True) == "done"
        assert server.log == ["send", "ask", "send"]
        server = Server(LOST, "twice", asks=[False])
        with pytest.raises(TransportError) as caught:
            await server.request(repeatable=False, keyed=True)
        assert caught.value is LOST
        assert server.log == ["send", "ask"]
        for failure in (REFUSED, answered(429), answered(503)):
            server = Server(failure, "done")
            assert await server.request(repeatable=False, keyed=True) == "done"
            assert server.log == ["send", "send"]

    async def test_asking_fails(self) -> None:
        """It is asked again; if it never responds, the error is the first one, which may have taken effect."""
        lost = TransportError("lost")
        server = Server(lost, "done", asks=[REFUSED, True])
        assert await server.request(repeatable=False, keyed=True) == "done"
        assert server.log == ["send", "ask", "ask", "send"]
        server = Server(lost, "twice", asks=[REFUSED, answered(502), REFUSED])
        with pytest.raises(TransportError) as caught:
            await server.request(repeatable=False, keyed=True)
        assert caught.value is lost
        assert server.log == ["send", "ask", "ask", "ask"]

    async def test_a_failed_question_is_no_attempt(self) -> None:
        """The request is sent as often as allowed, however often the endpoint had to be asked."""
        server = Server(TransportError("lost"), answered(502), "done", asks=[REFUSED, answered(503), True])
        assert await server.request(repeatable=False, keyed=True) == "done"
        assert server.log == ["send", "ask", "ask", "ask", "send", "send"]

    async def test_not_known_but_found(self) -> None:
        """With a way to look, that is used as long as nothing is known; it says whether keys are honoured, too."""
        server = Server(LOST, looks=["found"])
        assert await server.request(repeatable=False, find=True, keyed=True) == "found"
        assert server.log == ["send", "find"]

    async def test_still_in_doubt(self) -> None:
        """If an earlier attempt may have taken effect, the last error says so."""
        for last in (TransportError("refused", maybe_done=False), answered(409), answered(400)):
            lost = TransportError("lost")
            server = Server(lost, last)
            server.keys.honoured = True
            with pytest.raises(type(last)) as caught:
                await server.request(repeatable=False, keyed=True, max_retries=1)
            assert caught.value is last
            assert caught.value.maybe_done
            assert caught.value.__notes__ == ["An earlier attempt may have taken effect: lost"]

    @given(
        attempts=st.lists(st.sampled_from(["refused", "lost", "held up", "answer lost", "busy", "broken"]), max_size=6),
        asks=st.lists(st.booleans(), max_size=4),
        honoured=st.booleans(),
        known=st.booleans(),
        max_retries=st.integers(0, 4),
    )
    def test_never_twice_never_lost(
        self, attempts: list[str], asks: list[bool], honoured: bool, known: bool, max_retries: int
    ) -> None:
        """Whatever fails, and whether or not keys are honoured: at most one effect, and no error hides it."""
        server = _Keyed(attempts, asks, honours=honoured)
        if known:
            server.keys.honoured = honoured

        async def request() -> str:
            try:
                return await server.create()
            except (TransportError, ResponseError) as error:
                failure = error
            return await Retry(server.create, failure, None, repeatable=False, keys=server.keys).run(max_retries)

        try:
            assert anyio.run(request) == "run"
        except TransportError as error:
            assert error.maybe_done or not server.runs  # noqa: PT017  # either outcome is fine, if the error says so
        except ResponseError as error:
            assert error.maybe_done or error.status == 500 or not server.runs  # noqa: PT017
        assert len(server.runs) <= 1


class _ActiveRuns:
    """An endpoint with one active run per thread, behind a network that fails."""

    def __init__(self, attempts: list[str], looks: list[bool]) -> None:
        self.attempts, self.looks = attempts, looks
        self.runs: list[str] = []
        self.held_up = 0

    async def create(self) -> str:
        for _ in range(self.held_up):
            self._arrive()
        self.held_up = 0
        fate = self.attempts.pop(0) if self.attempts else "done"
        match fate:
            case "refused":
                raise TransportError("refused", maybe_done=False)
            case "lost":
                raise TransportError("lost on the way there")
            case "held up":
                self.held_up += 1
                raise TransportError("lost on the way there, it seems")
            case "busy":
                raise answered(429)
            case "broken":
                raise answered(500)
        if not self._arrive():
            raise answered(400)
        if fate == "answer lost":
            raise TransportError("lost on the way back")
        return "run"

    def _arrive(self) -> bool:
        if self.runs:
            return False
        self.runs.append("run")
        return True

    async def find(self) -> str | None:
        if self.looks and not self.looks.pop(0):
            raise TransportError("refused", maybe_done=False)
        return self.runs[0] if self.runs else None


class _Keyed(_ActiveRuns):
    """An endpoint that starts any number of runs, but only one for a key, if it honours keys."""

    def __init__(self, attempts: list[str], asks: list[bool], *, honours: bool) -> None:
        super().__init__(attempts, asks)
        self.honours = honours
        self.keys = KeySupport(self.ask)

    def _arrive(self) -> bool:
        if not (self.honours and self.runs):
            self.runs.append("run")
        return True

    async def ask(self, _: Any) -> None:
        if self.looks and not self.looks.pop(0):
            raise TransportError("refused", maybe_done=False)
        self.keys.honoured = self.honours


class TestWaiting:
    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({}, None),
            ({"retry_after": "7"}, 7.0),
            ({"retry_after": "0.5"}, 0.5),
            ({"retry_after_ms": "1500", "retry_after": "7"}, 1.5),
            ({"retry_after_ms": "soon", "retry_after": "7"}, 7.0),
            ({"retry_after": "soon"}, None),
            ({"retry_after": "-1"}, None),
            ({"retry_after": "nan"}, None),
            ({"retry_after": "inf"}, None),
            ({"retry_after": "Mon, 01 Jan 2001 00:00:00 GMT"}, 0.0),
            ({"retry_after": "Mon, 99 Jan 2001 00:00:00 GMT"}, None),
            ({"retry_after": "Mon, 01 Jan 2001 00:00:00 +99999999999999"}, None),
            ({"retry_after": "Mon, 01 Jan 99999999999 00:00:00 GMT"}, None),
            ({"retry_after": "Mon, 01 Jan 0001 00:00:00 +2359"}, 0.0),
            ({"retry_after": "Mon, 01 Jan 0001 00:00:00 -0000"}, 0.0),
        ],
    )
    async def test_the_servers_wish(self, headers: dict[str, str], seconds: float | None) -> None:
        """The delay is given in seconds, milliseconds or as a date; anything unreadable is ignored."""
        assert server_delay(answered(429, **headers)) == seconds

    async def test_a_date(self) -> None:
        """A date becomes the seconds until then."""
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
        delay = server_delay(answered(429, retry_after=date))
        assert delay is not None
        assert 60 < delay <= 90
        assert server_delay(LOST) is None
        assert server_delay(answered(429, retry_after="Fri, 31 Dec 9999 23:59:59 -2359")) > 1e9

    @pytest.mark.parametrize(
        ("failure", "expected"),
        [
            (answered(429, retry_after_ms="30"), lambda waits: waits == [0.03, 0.03]),
            (answered(429, retry_after_ms="0.001"), lambda waits: waits == [0.02, 0.02]),
            (answered(429, retry_after="0"), lambda waits: 0.5 <= waits[0] <= 1 <= waits[1] <= 1.5),
            (LOST, lambda waits: 0.5 <= waits[0] <= 1 <= waits[1] <= 1.5),
        ],
    )
    async def test_backoff(
        self, failure: Exception, expected: Callable[[list[float]], bool], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The server's delay is used; without one, delays grow, with jitter."""
        waits: list[float] = []

        def note(details: RetryDetails) -> None:
            waits.append(details.wait_for)

        async def no_sleep(_: float) -> None:
            pass

        monkeypatch.setattr("stamina._core._smart_sleep", no_sleep)
        set_on_retry_hooks([note])
        try:
            with stamina.set_testing(False):
                assert await Server(failure, failure, "done").request(repeatable=True) == "done"
        finally:
            set_on_retry_hooks(None)
        assert expected(waits)

    def test_a_long_delay(self) -> None:
        """Only who can wait for long takes a long delay for an outage; the request itself is not retried."""
        for failure in (answered(429, retry_after="121"), answered(503, retry_after="1e9")):
            assert is_outage(failure)
            assert not is_transient(failure)
        assert not is_outage(answered(503, retry_after="121", x_should_retry="false"))

    @pytest.mark.parametrize(
        ("failure", "lasts"),
        [
            (answered(429), False),
            (answered(429, x_should_retry="false"), True),
            (ResponseError("no", status=429, code="insufficient_quota"), True),
            (ResponseError("no", status=429, type="billing_not_active"), True),
            (ResponseError("no", status=429, code="insufficient_quota", headers={"x-should-retry": "true"}), False),
            (ZeroDivisionError(), False),
            (NONSENSE, False),
        ],
    )
    def test_what_will_last(self, failure: Exception, lasts: bool) -> None:
        """What is said to last is not repeated; a header is nearer to the point than a code."""
        assert is_final(failure) is lasts
        assert not (lasts and is_outage(failure))

    def test_an_endpoint_that_does_not_answer(self) -> None:
        """Nobody answers, or a gateway before it; what the endpoint itself says shows that it is there."""
        assert all(map(is_unreachable, (LOST, REFUSED, answered(502), answered(503), answered(504))))
        bad_certificate = TransportError("no")
        bad_certificate.__cause__ = ssl.SSLError()
        there = (answered(500), answered(429), answered(408), NONSENSE, answered(503, x_should_retry="false"))
        assert not any(map(is_unreachable, (*there, bad_certificate, ZeroDivisionError())))

    @pytest.mark.parametrize(
        ("text", "seconds"), [("250", 0.25), ("0", None), ("-5", None), ("soon", None), (None, None), ("1e999", None)]
    )
    def test_poll_hint(self, text: str | None, seconds: float | None) -> None:
        """A hint of 0 is ignored, since polling must not spin."""
        assert poll_hint({} if text is None else {"openai-poll-after-ms": text}) == seconds
