"""`_wire.paths`: the IDs in a path come from an object, or from keywords."""

from typing import Any

import pytest

from openai_runs._wire import load, paths
from openai_runs._wire.paths import ids_of
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.run_step import RunStep
from tests.samples import EXAMPLES

STEP = load((EXAMPLES / "objects/RunStepObject.json").read_bytes(), RunStep)


def test_by_itself_and_by_ids() -> None:
    """Object and keywords give the same IDs."""
    ids = {"thread_id": STEP.thread_id, "run_id": STEP.run_id, "step_id": STEP.id}
    assert ids_of(RunStep, STEP, thread_id=None, run_id=None, step_id=None) == ids
    assert ids_of(RunStep, None, **ids) == ids
    assert paths.STEP.format(**ids) == f"/threads/{STEP.thread_id}/runs/{STEP.run_id}/steps/{STEP.id}"


@pytest.mark.parametrize(
    ("kind", "value", "ids", "words"),
    [
        (
            Run,
            None,
            {"thread_id": None, "run_id": None},
            "give a Run, or thread_id=…, run_id=… as keywords: got ne",
        ),
        (Run, "run_1", {"thread_id": "thread_1", "run_id": None}, "got 'run_1', thread_id='thread_1'"),
        (Run, STEP, {"thread_id": None, "run_id": None}, "give a Run, .*: got RunStep"),
        (Message, None, {"thread_id": None, "message_id": "msg_1"}, "give a Message, .*: got message_id='msg_1'"),
        (RunStep, STEP, {"thread_id": None, "run_id": None, "step_id": "x"}, "step_id=… .*, step_id='x'; nothing was"),
    ],
)
def test_neither_or_both(kind: Any, value: object, ids: dict[str, Any], words: str) -> None:
    """The error says what to write, also to callers used to another client's positional IDs."""
    with pytest.raises(TypeError, match=words):
        ids_of(kind, value, **ids)
