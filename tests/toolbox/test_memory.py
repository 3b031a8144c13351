"""Which calls are the same call: across followers, lost responses, rounds and runs, whatever IDs a server gives."""

import copy
import json
import pickle
from typing import Any

import pytest
from attrs import evolve

from openai_runs import dump, load
from openai_runs.models.page import Page
from openai_runs.models.run import Run
from openai_runs.models.tool import ToolOutput
from openai_runs.toolbox import Toolbox
from openai_runs.toolbox.memory import Memory, settle
from tests.samples import EXAMPLES

pytestmark = pytest.mark.anyio

RUN = json.loads((EXAMPLES / "objects/RunObject.json").read_text())


def snapshot(run_id: str = "run_1", call_id: str = "call_0", **fields: Any) -> Run:
    """A run that waits for one call, as it comes from the server: a new object each time."""
    call = {"id": call_id, "type": "function", "function": {"name": "count", "arguments": "{}"}}
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [call]}}
    body = RUN | {"id": run_id, "status": "requires_action", "required_action": action} | fields
    return load(body, Run, strict=False)


@pytest.fixture
def toolbox() -> Toolbox:
    toolbox, times = Toolbox(), 0

    @toolbox.tool
    async def count() -> int:
        nonlocal times
        times += 1
        return times

    return toolbox


async def ask(toolbox: Toolbox, run: Run, **options: Any) -> str:
    (output,) = await toolbox.answer(run.pending_tool_calls, **options)
    return output.output


async def submit(toolbox: Toolbox, run: Run) -> str:
    """Answer, and have the outputs accepted."""
    outputs = await toolbox.answer(run.pending_tool_calls)
    settle(outputs)
    return outputs[0].output


def test_how_many_calls_are_remembered():
    """All calls that wait at one time fit in: only beyond 4096 is the oldest forgotten, so none is made twice."""
    memory = Memory()
    (call,) = snapshot().pending_tool_calls
    for number in range(4096):
        memory.remember((None, str(number), "count", "{}"), str(number))
    assert memory.recall((None, "0", "count", "{}"), call) == "0"
    memory.remember((None, "one more", "count", "{}"), "")
    assert memory.recall((None, "0", "count", "{}"), call) is None
    assert len(memory) == 4096


async def test_a_round_that_is_not_accepted_yet(toolbox: Toolbox) -> None:
    """Until the outputs are accepted, each snapshot of the round means the same call."""
    assert await ask(toolbox, snapshot()) == "1"
    assert await ask(toolbox, snapshot()) == "1"


async def test_the_next_round_with_the_same_ids(toolbox: Toolbox) -> None:
    """Once the outputs are accepted, the same ID, name and arguments in a newer snapshot are a new call."""
    assert await submit(toolbox, snapshot()) == "1"
    assert await submit(toolbox, snapshot()) == "2"
    again = snapshot()
    assert await ask(toolbox, again) == "3"
    assert await ask(toolbox, again) == "3"
    assert await ask(toolbox, snapshot()) == "3"


@pytest.mark.parametrize("is_odd", [False, True])
async def test_another_follower_with_an_older_snapshot(toolbox: Toolbox, is_odd: bool) -> None:
    """A snapshot that arrived before the acceptance still means the call of that round, whenever it is read."""
    older = snapshot(tools=None) if is_odd else snapshot()
    assert await submit(toolbox, snapshot()) == "1"
    assert await ask(toolbox, older) == "1"
    assert await ask(toolbox, evolve(older, status="queued")) == "1"
    assert await ask(toolbox, copy.copy(older)) == "1"


async def test_an_older_snapshot_on_a_page(toolbox: Toolbox) -> None:
    """The same if it came in a list."""
    page = load({"object": "list", "data": [dump(snapshot())], "has_more": False}, Page[Run])
    assert await submit(toolbox, snapshot()) == "1"
    assert await ask(toolbox, page.data[0]) == "1"


async def test_a_snapshot_from_elsewhere(toolbox: Toolbox) -> None:
    """A pickled snapshot, or one that somebody built, tells its run as well: IDs from call_0 are not mixed up."""
    assert await ask(toolbox, pickle.loads(pickle.dumps(snapshot("run_1")))) == "1"
    assert await ask(toolbox, copy.deepcopy(snapshot("run_2"))) == "2"
    assert await ask(toolbox, evolve(copy.deepcopy(snapshot("run_2")), model="m")) == "2"
    assert pickle.loads(pickle.dumps(snapshot())) == snapshot()


async def test_outputs_that_are_made_again_are_accepted_too(toolbox: Toolbox) -> None:
    """The round is over whichever of the equal outputs was submitted, also in the form of dicts of an older answer."""
    first = await toolbox.answer(snapshot().pending_tool_calls)
    second = await toolbox.answer(snapshot().pending_tool_calls)
    assert first == second
    settle(second)
    assert await ask(toolbox, snapshot()) == "2"


async def test_outputs_of_nobody_here(toolbox: Toolbox) -> None:
    """Outputs that no toolbox made, or copies, settle nothing."""
    outputs = await toolbox.answer(snapshot().pending_tool_calls)
    settle(
        [
            ToolOutput(tool_call_id="call_0", output="1"),
            {"tool_call_id": "call_0"},
            pickle.loads(pickle.dumps(outputs[0])),
        ]
    )
    assert await ask(toolbox, snapshot()) == "1"


async def test_answered_by_hand_without_the_run_s_id(toolbox: Toolbox) -> None:
    """A call knows the run that it was read from: with or without `run_id` it is the same call."""
    run = snapshot()
    assert await ask(toolbox, run) == "1"
    assert await ask(toolbox, run, run_id="run_1") == "1"
    assert await ask(toolbox, snapshot(), run_id="run_1") == "1"
    toolbox.forget(run.pending_tool_calls)
    assert await ask(toolbox, run, run_id="run_1") == "2"


async def test_another_run_with_the_same_ids(toolbox: Toolbox) -> None:
    """Servers that count from call_0 in each run need no `run_id` by hand."""
    assert await ask(toolbox, snapshot("run_1")) == "1"
    assert await ask(toolbox, snapshot("run_2")) == "2"
    assert await ask(toolbox, snapshot("run_1")) == "1"
