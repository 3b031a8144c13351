"""``/threads/{thread_id}/runs/{run_id}/steps``."""

import pytest

pytestmark = pytest.mark.anyio

INCLUDE = "include%5B%5D=step_details.tool_calls%5B*%5D.file_search.results%5B*%5D.content"


async def test_steps(api, waiting_run, outputs):
    """A run with a tool call has one step for the call and one for the message; both are listed and retrieved."""
    path = f"/threads/{waiting_run['thread_id']}/runs/{waiting_run['id']}"
    (step,) = (await api("GET", f"{path}/steps"))["data"]
    assert (step["type"], step["status"]) == ("tool_calls", "in_progress")
    run = await api("POST", f"{path}/submit_tool_outputs", {"tool_outputs": outputs})
    assert (await api.ended(run))["status"] == "completed"
    steps = (await api("GET", f"{path}/steps?order=asc&{INCLUDE}"))["data"]
    assert [(step["type"], step["status"]) for step in steps] == [
        ("tool_calls", "completed"),
        ("message_creation", "completed"),
    ]
    assert steps[0]["step_details"]["tool_calls"][0]["function"]["output"] == "sunny"
    for step in steps:
        assert await api("GET", f"{path}/steps/{step['id']}?{INCLUDE}") == step
    page = await api("GET", f"{path}/steps?limit=1&after={steps[1]['id']}")
    assert page["data"] == [steps[0]]


async def test_nobody(api, waiting_run):
    """A missing object is a 404."""
    path = f"/threads/{waiting_run['thread_id']}/runs"
    await api("GET", f"{path}/{waiting_run['id']}/steps/step_1", status=404)
    await api("GET", f"{path}/run_1/steps/step_1", status=404)
    await api("GET", f"{path}/run_1/steps", status=404)


@pytest.mark.parametrize("rest", ["steps", "steps/step_1"])
async def test_what_to_include(api, waiting_run, rest):
    """`include[]` accepts only the API's value."""
    path = f"/threads/{waiting_run['thread_id']}/runs/{waiting_run['id']}/{rest}?include[]=everything"
    assert (await api("GET", path, status=400))["error"]["param"] == "include"
