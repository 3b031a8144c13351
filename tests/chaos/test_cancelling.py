"""Cancellation at every point where an operation waits; ``nox -s chaos`` does each in every way."""

import inspect

import pytest

from openai_runs.services.assistants import AssistantsService
from openai_runs.services.files import FilesService
from openai_runs.services.messages import MessagesService
from openai_runs.services.run_steps import RunStepsService
from openai_runs.services.runs import RunsService
from openai_runs.services.threads import ThreadsService
from openai_runs.services.vector_store_file_batches import VectorStoreFileBatchesService
from openai_runs.services.vector_store_files import VectorStoreFilesService
from openai_runs.services.vector_stores import VectorStoresService
from tests.chaos.cancelling import WAYS, cancelling
from tests.chaos.operations import OPERATIONS, Operation

pytestmark = [pytest.mark.anyio, pytest.mark.unmeasured]


def _id(operation: Operation) -> str:
    return f"{operation.name} {operation.on_exit or ''}".rstrip()


@pytest.mark.parametrize("operation", [pytest.param(operation, id=_id(operation)) for operation in OPERATIONS])
async def test_cancelled_at_every_point(operation: Operation) -> None:
    """Cancellation gets out; no task, connection or lock stays; with on_exit="cancel" no run stays; work goes on."""
    async with cancelling() as attempts:
        for number, way in enumerate(WAYS, 1):  # in turn: each point in one way
            findings = await attempts.find(operation, way, number, len(WAYS))
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
        "files": FilesService,
        "vector_stores": VectorStoresService,
        "vector_stores.files": VectorStoreFilesService,
        "vector_stores.file_batches": VectorStoreFileBatchesService,
    }
    for service, cls in services.items():
        methods = [name for name, _ in inspect.getmembers(cls, inspect.isfunction) if not name.startswith("_")]
        assert names.issuperset(f"{service}.{name}" for name in methods)
