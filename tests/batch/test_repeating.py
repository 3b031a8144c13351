"""`JobRetries`: which jobs are tried again, and when, told by values."""

import json
import ssl
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs import load
from openai_runs._wire.idempotency import check_key
from openai_runs.batch.jobs import BatchResult
from openai_runs.batch.repeating import JobRetries, key_of_run
from openai_runs.errors import (
    AuthenticationError,
    BadRequestError,
    RateLimitError,
    RunExpiredError,
    RunFailedError,
    ServerError,
    TransportError,
)
from openai_runs.models.run import LastError, Run
from tests.samples import EXAMPLES

RUN = json.loads((EXAMPLES / "objects/RunObject.json").read_text())


def run(status: str, code: str | None = None) -> Run:
    last_error = None if code is None else {"code": code, "message": "m"}
    return load(RUN | {"status": status, "last_error": last_error}, Run)


def failed(code: str | None) -> RunFailedError:
    return RunFailedError("failed", run=run("failed", code))


def result(error: Exception | None, run: Run | None = None, attempts: int = 1) -> BatchResult:
    return BatchResult(0, {"assistant_id": "a"}, run, error, attempts=attempts)


class TestShouldRepeat:
    @pytest.mark.parametrize(
        ("error", "run", "keys_honoured", "expected"),
        [
            (None, run("completed"), True, False),
            (failed("rate_limit_exceeded"), run("failed"), False, True),
            (failed("server_error"), run("failed"), False, True),
            (failed("invalid_prompt"), run("failed"), True, False),
            (failed(None), run("failed"), True, False),
            (RunExpiredError("e", run=run("expired")), run("expired"), True, False),
            (RateLimitError("r", status=429), None, False, True),
            (ServerError("s", status=500), None, False, False),
            (ServerError("s", status=500), None, True, True),
            (TransportError("t", maybe_done=False), None, False, True),
            (TransportError("t"), None, False, False),
            (TransportError("t"), None, True, True),
            (TransportError("t"), None, None, True),
            (ServerError("s", status=500), run("in_progress"), True, False),
            (ServerError("s", status=500), run("completed"), False, True),
            (BadRequestError("b", status=400), None, True, False),
            (AuthenticationError("a", status=401), None, True, False),
            (ZeroDivisionError(), None, True, False),
        ],
        ids=repr,
    )
    def test_which(self, error: Exception | None, run: Run | None, keys_honoured: bool | None, expected: bool) -> None:
        """What may pass comes back, unless it could start a second run beside one that is active."""
        assert JobRetries().should_repeat(result(error, run), keys_honoured=keys_honoured) is expected

    def test_what_the_caller_says(self) -> None:
        """Codes and exceptions can be others; an exception of the caller's own leaves no doubt."""
        retries = JobRetries(codes=["overloaded"], errors=(ssl.SSLError,))
        assert retries.should_repeat(result(failed("overloaded"), run("failed")), keys_honoured=False)
        assert not retries.should_repeat(result(failed("server_error"), run("failed")), keys_honoured=False)
        assert retries.should_repeat(result(ssl.SSLError()), keys_honoured=False)

    @pytest.mark.parametrize(
        "error",
        [
            RateLimitError("r", status=429, headers={"x-should-retry": "false"}),
            RateLimitError("r", status=429, code="insufficient_quota"),
            TransportError("t", maybe_done=False),
        ],
        ids=repr,
    )
    def test_what_will_last(self, error: Exception) -> None:
        """No job waits for what does not pass, even if the start left no doubt."""
        if isinstance(error, TransportError):
            error.__cause__ = ssl.SSLCertVerificationError()
        assert not JobRetries().should_repeat(result(error), keys_honoured=True)

    def test_in_the_end_not(self) -> None:
        """After so many attempts, the job has its result."""
        again = [JobRetries(attempts=3).should_repeat(result(failed("server_error"), attempts=n), keys_honoured=True)
                 for n in (1, 2, 3)]  # fmt: skip
        assert again == [True, True, False]


class TestDelay:
    def test_grows(self) -> None:
        """It is multiplied after each attempt, up to the longest; also after very many."""
        retries, error = JobRetries(first=5, factor=3, longest=60), failed("server_error")
        assert [retries.delay(result(error, attempts=n), 0) for n in (1, 2, 3, 4, 10_000)] == [5, 15, 45, 60, 60]

    def test_jitter(self) -> None:
        """It is lengthened by up to a half, so that jobs do not return together."""
        delays = [JobRetries(first=10).delay(result(failed("server_error")), jitter) for jitter in (0, 0.5, 1)]
        assert delays == [10, 12.5, 15]

    @pytest.mark.parametrize(("asked", "expected"), [("90", 90), ("1", 5), ("86400", 3600), ("soon", 5)])
    def test_retry_after(self, asked: str, expected: float) -> None:
        """A longer delay that the server names takes its place, up to an hour."""
        error = RateLimitError("r", status=429, headers={"retry-after": asked})
        assert JobRetries(first=5).delay(result(error), 0) == expected


class TestKeys:
    def test_of_the_first_run(self) -> None:
        assert key_of_run("job-1", 0) == "job-1"

    @given(key=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=255))
    def test_of_further_runs(self, key: str) -> None:
        """Each further run has a valid key of its own, the same one whenever it is asked for."""
        keys = [key_of_run(key, failed) for failed in range(4)]
        assert len(set(keys)) == 4
        assert keys == [key_of_run(key, failed) for failed in range(4)]
        for one in keys:
            check_key(one)

    def test_of_long_ones(self) -> None:
        """Long keys that differ only at their ends give keys that differ."""
        assert key_of_run("k" * 254 + "a", 1) != key_of_run("k" * 254 + "b", 1)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"attempts": 0}, ValueError, "JobRetries.attempts must be at least 1: got 0"),
        ({"first": -1}, ValueError, "JobRetries.first must be at least 0 seconds: got -1"),
        ({"longest": "60"}, TypeError, "JobRetries.longest must be a number of seconds: got '60'"),
        ({"factor": 0.5}, ValueError, "factor"),
        ({"codes": "server_error"}, TypeError, "must be a collection of codes: got 'server_error'"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], error: type[Exception], text: str) -> None:
    """A wrong value is refused where it is written."""
    with pytest.raises(error, match=text):
        JobRetries(**options)


def test_last_error_is_the_api_s() -> None:
    """The codes are those of `LastError`."""
    assert LastError(code="server_error", message="m").code in JobRetries().codes
