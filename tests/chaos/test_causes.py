"""A raise is excused only by what was really sent, and only if the caller or the endpoint allows no more."""

from typing import Any

import pytest

from openai_runs.errors import OpenAIRunsError, RunDeadlineError, TransportError
from openai_runs.models.run import Run
from tests.chaos.causes import UNAVOIDABLE, Settings, cause, told
from tests.chaos.history import Call, History, Sent

pytestmark = pytest.mark.unmeasured

CREATE, POLL = "/v1/threads/thread_1/runs", "/v1/threads/thread_1/runs/run_1"


def settings(**changed: Any) -> Settings:
    return Settings(**{"max_retries": 1, "has_keys": True, "outage": 60.0, "by_hand": False, **changed})


def why(
    *sent: str,
    method: str = "POST",
    path: str = CREATE,
    can_look: bool = False,
    error: OpenAIRunsError | None = None,
    deadline_passed: bool = False,
    **changed: Any,
) -> str | None:
    """The cause of a raise after these requests: attempts, and looks, which may have been answered."""
    error = TransportError("lost") if error is None else error
    call = Call(method, path, is_single=False, is_stream=False, can_look=can_look, error=error)
    for kind in sent:
        failure = None if kind == "answered look" else error
        call.sent.append(Sent("1", method, path, is_look=kind != "attempt", failure=failure))
    history = History()
    history.calls.append(call)
    assert told(error, history, {"1": "lost after"}).count("lost after") == len(sent)
    found = cause(error, history, settings(**changed), deadline_passed=deadline_passed)
    assert found is None or found in UNAVOIDABLE
    return found


@pytest.mark.parametrize("has_keys", [True, False])
def test_attempts(has_keys: bool) -> None:
    """All that are allowed have to be made, where the request may be repeated."""
    assert why("attempt", "attempt", has_keys=has_keys) == "all attempts have failed"
    assert why("attempt", "answered look", "attempt", "answered look", can_look=True) == "all attempts have failed"
    assert why("attempt") is None
    assert why("attempt", "answered look", can_look=True, has_keys=False) is None
    assert why("attempt", "attempt", max_retries=2) is None


def test_starts() -> None:
    """A batch that tries jobs again has to use that up, where it starts no second run."""
    refused = TransportError("refused", maybe_done=False)
    assert why("attempt", "attempt", starts_left=1) is None
    assert why("attempt", "attempt", starts_left=1, has_keys=False, error=refused) is None
    assert why("attempt", "attempt", starts_left=1, has_keys=False) == "all attempts have failed"


def test_looks() -> None:
    """So have looks."""
    assert why("attempt", "look", "look", can_look=True) == "in doubt, and all looks have failed"
    assert why("attempt", "look", can_look=True) is None
    assert why("attempt", "attempt", "look", can_look=True) is None


def test_no_keys() -> None:
    """Without keys, and without a way to look, a request is made once if it may have taken effect."""
    assert why("attempt", has_keys=False) == "may be done, no keys, nothing to look for"
    assert why("attempt", has_keys=False, error=TransportError("refused", maybe_done=False)) is None


def test_outages() -> None:
    """Following goes on through an outage, unless none is tolerated."""
    outage = "all attempts or looks have failed, and no outage is tolerated"
    submit = f"{POLL}/submit_tool_outputs"
    assert why("attempt", "attempt", method="GET", path=POLL) is None
    assert why("attempt", "attempt", method="GET", path=POLL, outage=0.0) == outage
    assert why("attempt", method="GET", path=POLL, outage=0.0) is None
    assert why("attempt", "attempt", path=submit) is None
    assert why("attempt", "attempt", path=submit, outage=0.0) == outage
    assert why("attempt", "attempt", path=submit, by_hand=True) == "all attempts have failed"


def test_deadlines() -> None:
    """An error that names the deadline is excused only if it has passed."""
    run: Run = None  # type: ignore[assignment]  # nobody looks at it
    late = RunDeadlineError("late", run=run)
    history = History()
    assert cause(late, history, settings(), deadline_passed=True) == "the deadline has passed"
    assert cause(late, history, settings(), deadline_passed=False) is None
    assert told(late, history, {}) == "not raised by a call"


@pytest.mark.parametrize("can_look", [True, False])
@pytest.mark.parametrize("has_keys", [True, False])
def test_a_run_that_is_lost(has_keys: bool, can_look: bool) -> None:
    """A stream that broke before it named its run: with a key or a marker that is found, within an outage."""
    history = History()
    history.calls.append(Call("POST", CREATE, is_single=False, is_stream=True, can_look=can_look))
    lost = TransportError("its ID is not known")
    found = [cause(lost, history, settings(has_keys=has_keys, outage=s), deadline_passed=False) for s in (60.0, 0.0)]
    if has_keys or can_look:
        assert found == [None, "all attempts or looks have failed, and no outage is tolerated"]
    else:
        assert found == ["may be done, no keys, nothing to look for"] * 2
    assert cause(OpenAIRunsError("another"), history, settings(), deadline_passed=False) is None
