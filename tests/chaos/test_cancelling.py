"""Cancellation at every point where an operation waits; ``nox -s chaos`` does each in every way."""

import inspect
from typing import Any

import pytest

from openai_runs.services.assistants import AssistantsService
from openai_runs.services.messages import MessagesService
from openai_runs.services.run_steps import RunStepsService
from openai_runs.services.runs import RunsService
from openai_runs.services.threads import ThreadsService
from tests.chaos.cancelling import WAYS, cancelling
from tests.chaos.operations import OPERATIONS, Operation

pytestmark = pytest.mark.anyio

_LEAVING = "task.cancel() interrupts the request that cancels the run: a shield does not hold it back"
_OPENING = "the run of an interrupted opening is not known, and its thread neither"
#: What is known to go wrong, by operation and on_exit.
KNOWN = {
    ("runs.follow, left early", "cancel"): _LEAVING,
    ("runs.stream, left early", "cancel"): _LEAVING,
    ("threads.stream_run", "cancel"): _OPENING,
}


def _case(operation: Operation) -> Any:
    key = (operation.name, operation.on_exit)
    marks = [pytest.mark.xfail(strict=True, reason=KNOWN[key])] if key in KNOWN else []
    return pytest.param(operation, marks=marks, id=f"{operation.name} {operation.on_exit or ''}".rstrip())


@pytest.mark.parametrize("operation", [_case(operation) for operation in OPERATIONS])
async def test_cancelled_at_every_point(operation: Operation) -> None:
    """Cancellation gets out; no task, connection or lock stays; with on_exit="cancel" no run stays; work goes on."""
    is_known = (operation.name, operation.on_exit) in KNOWN
    async with cancelling() as attempts:
        for number, way in enumerate(WAYS, 1):  # in turn: each point in one way
            findings = await attempts.find(operation, way, *((1, 1) if is_known else (number, len(WAYS))))
            assert findings.problems == []
            assert findings.points > 0
            assert findings.hit == findings.chosen


def test_every_operation_is_listed() -> None:
    """A method that is new is cancelled, too."""
    names = {operation.name for operation in OPERATIONS}
    services = {
        "assistants": AssistantsService,
        "threads": ThreadsService,
        "messages": MessagesService,
        "runs": RunsService,
        "run_steps": RunStepsService,
    }
    for service, cls in services.items():
        methods = [name for name, _ in inspect.getmembers(cls, inspect.isfunction) if not name.startswith("_")]
        assert names.issuperset(f"{service}.{name}" for name in methods)
