"""`_wire.signatures`: the signatures shown for methods whose keywords are in a `TypedDict`."""

import inspect
from typing import Any

import pytest

from openai_runs.following.options import FollowOptions
from openai_runs.models.run import RunCreateRequest
from openai_runs.session import Session

SESSION = Session("http://localhost/v1")
METHODS = [
    (service, name)
    for service in ("assistants", "threads", "messages", "runs", "run_steps")
    for name in dir(getattr(SESSION, service))
    if not name.startswith("_")
]


@pytest.mark.parametrize(("service", "name"), METHODS)
def test_no_method_hides_its_keywords(service: str, name: str) -> None:
    """The signature of each method of each service names all its parameters, without `self`."""
    parameters = inspect.signature(getattr(getattr(SESSION, service), name)).parameters
    assert "self" not in parameters
    assert not {each.kind for each in parameters.values()} & {
        inspect.Parameter.VAR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    }


def test_what_is_shown() -> None:
    """The method's own parameters come first, then required keywords, then optional ones; all with their types."""
    parameters: Any = inspect.signature(SESSION.runs.create).parameters
    assert list(parameters)[:4] == ["thread_id", "include", "idempotency_key", "assistant_id"]
    assert set(parameters) == {"thread_id", "include", "idempotency_key", *RunCreateRequest.__annotations__}
    assert parameters["assistant_id"].default is inspect.Parameter.empty
    assert str(parameters["temperature"]) == "temperature: float | None = …"
    assert set(inspect.signature(SESSION.runs.follow).parameters) >= set(FollowOptions.__annotations__)


def test_it_stays_what_it_is() -> None:
    """The methods are still recognized as coroutine functions."""
    assert inspect.iscoroutinefunction(SESSION.runs.create)
    assert not inspect.iscoroutinefunction(SESSION.runs.stream)
