"""Cancellation at every point where an operation waits; ``nox -s chaos`` does each in every way."""

import inspect

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
#: What is known to go wrong with on_exit="cancel": by operation, in which ways, and why.
KNOWN = {
    "runs.follow": (("twice",), _LEAVING),
    "runs.follow, left early": (("task", "late", "twice"), _LEAVING),
    "runs.complete": (("twice",), _LEAVING),
    "runs.stream": (("twice",), _LEAVING),
    "runs.stream, broken": (("twice",), _LEAVING),
    "runs.stream, left early": (("task", "late", "twice"), _LEAVING),
    "runs.stream_tool_outputs": (("twice",), _LEAVING),
    "threads.stream_run": (WAYS, _OPENING),
}


def _known_ways(operation: Operation) -> tuple[str, ...]:
    return KNOWN[operation.name][0] if operation.on_exit == "cancel" and operation.name in KNOWN else ()


def _id(operation: Operation) -> str:
    return f"{operation.name} {operation.on_exit or ''}".rstrip()


@pytest.mark.parametrize("operation", [pytest.param(operation, id=_id(operation)) for operation in OPERATIONS])
async def test_cancelled_at_every_point(operation: Operation) -> None:
    """Cancellation gets out; no task, connection or lock stays; with on_exit="cancel" no run stays; work goes on."""
    ways = [way for way in WAYS if way not in _known_ways(operation)]
    async with cancelling() as attempts:
        for number, way in enumerate(ways, 1):  # in turn: each point in one way
            findings = await attempts.find(operation, way, number, len(ways))
            assert findings.problems == []
            assert findings.points > 0
            assert findings.hit == findings.chosen


@pytest.mark.parametrize(
    ("operation", "way"),
    [
        pytest.param(
            operation,
            way,
            id=f"{_id(operation)} {way}",
            marks=pytest.mark.xfail(strict=True, raises=AssertionError, reason=KNOWN[operation.name][1]),
        )
        for operation in OPERATIONS
        for way in _known_ways(operation)
    ],
)
async def test_known_defects(operation: Operation, way: str) -> None:
    async with cancelling() as attempts:
        assert (await attempts.find(operation, way, one_problem=True)).problems == []


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
