"""`current_call`: a tool can recognize a repetition of its call, also in another process."""

import json

import pytest

from openai_runs.models.tool import FunctionCall, FunctionToolCall
from openai_runs.toolbox import CurrentCall, Toolbox, current_call

pytestmark = pytest.mark.anyio


def call(id: str = "call_0", **arguments: str) -> FunctionToolCall:
    return FunctionToolCall(id=id, function=FunctionCall(name="note", arguments=json.dumps(arguments)))


@pytest.mark.parametrize("is_async", [True, False], ids=["task", "thread"])
async def test_in_a_tool(is_async: bool):
    """A coroutine and a thread both know the call that they answer; concurrent calls know each its own."""
    calls: list[CurrentCall] = []
    toolbox = Toolbox()
    if is_async:

        @toolbox.tool(name="note")
        async def note() -> None:
            calls.append(current_call())
    else:

        @toolbox.tool(name="note")
        def note_in_thread() -> None:
            calls.append(current_call())

    await toolbox.answer([call("call_0"), call("call_1")], run_id="run_1")
    assert {(made.id, made.run_id) for made in calls} == {("call_0", "run_1"), ("call_1", "run_1")}


async def test_the_key_of_a_repetition():
    """The key is the same in another toolbox, as after a restart; run, ID and arguments each make another one."""
    keys: list[str] = []

    async def answer(run_id: str, one: FunctionToolCall) -> str:
        toolbox = Toolbox()

        @toolbox.tool
        async def note(text: str = "") -> None:
            keys.append(current_call().idempotency_key)

        await toolbox.answer([one], run_id=run_id)
        return keys[-1]

    first = await answer("run_1", call())
    assert await answer("run_1", call()) == first
    others = [("run_2", call()), ("run_1", call("call_1")), ("run_1", call(text="a"))]
    assert len({first, *[await answer(*other) for other in others]}) == 4


async def test_outside_of_a_tool():
    """Elsewhere there is no current call, not even after one."""
    toolbox = Toolbox()

    @toolbox.tool
    async def note() -> None:
        current_call()

    await toolbox.answer([call()], run_id="run_1")
    with pytest.raises(RuntimeError, match="is for tools"):
        current_call()
