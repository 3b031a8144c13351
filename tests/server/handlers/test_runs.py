"""``/threads/{thread_id}/runs``."""

import pytest

pytestmark = pytest.mark.anyio

INCLUDE = "include[]=step_details.tool_calls[*].file_search.results[*].content"


async def test_a_life(api, assistant, thread, outputs, waiting_run):
    """A run is created, retrieved, updated and listed, gets its tool outputs, and completes."""
    everything = f"/threads/{thread['id']}/runs"
    path = f"{everything}/{waiting_run['id']}"
    assert await api("GET", path) == waiting_run
    changed = await api("POST", path, {"metadata": {"k": "v"}})
    assert changed == waiting_run | {"metadata": {"k": "v"}}
    assert (await api("GET", everything))["data"] == [changed]
    run = await api("POST", f"{path}/submit_tool_outputs", {"tool_outputs": outputs, "stream": None})
    assert (run["status"], run["required_action"]) == ("queued", None)
    run = await api.ended(run)
    assert (run["status"], run["last_error"]) == ("completed", None)
    assert run["usage"]["total_tokens"] > 0


async def test_create_with_everything(api, assistant, thread):
    """Every parameter of the document is accepted."""
    asked = {
        "assistant_id": assistant["id"],
        "model": "other",
        "reasoning_effort": "low",
        "instructions": "Be brief.",
        "additional_instructions": "Be polite.",
        "additional_messages": [{"role": "user", "content": "Please."}],
        "tools": [],
        "metadata": {"k": "v"},
        "temperature": 0.2,
        "top_p": 0.9,
        "stream": False,
        "max_prompt_tokens": 1000,
        "max_completion_tokens": 1000,
        "truncation_strategy": {"type": "last_messages", "last_messages": 2},
        "tool_choice": "none",
        "parallel_tool_calls": False,
        "response_format": {"type": "text"},
    }
    run = await api("POST", f"/threads/{thread['id']}/runs?{INCLUDE}", asked)
    shown = ["model", "tools", "metadata", "temperature", "top_p", "max_prompt_tokens", "response_format"]
    assert {name: run[name] for name in shown} == {name: asked[name] for name in shown}
    assert run["instructions"] == "Be brief.\n\nBe polite."
    assert (await api.ended(run))["status"] == "completed"
    texts = [m["content"][0]["text"]["value"] for m in (await api("GET", f"/threads/{thread['id']}/messages"))["data"]]
    assert "Please." in texts


async def test_cancel(api, waiting_run):
    """A waiting run is cancelled; an ended one cannot be."""
    path = f"/threads/{waiting_run['thread_id']}/runs/{waiting_run['id']}"
    run = await api("POST", f"{path}/cancel")
    assert run["status"] in ("cancelling", "cancelled")
    assert (await api.ended(run))["status"] == "cancelled"
    error = await api("POST", f"{path}/cancel", status=400)
    assert error["error"]["message"] == "Cannot cancel run with status 'cancelled'."


async def test_one_active_run_a_thread(api, waiting_run):
    """The error has the hosted API's exact message."""
    thread_id = waiting_run["thread_id"]
    body = {"assistant_id": waiting_run["assistant_id"]}
    error = await api("POST", f"/threads/{thread_id}/runs", body, status=400)
    assert error["error"] == {
        "message": f"Thread {thread_id} already has an active run {waiting_run['id']}.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


async def test_outputs_that_do_not_fit(api, waiting_run, outputs):
    """Tool outputs must come all at once, for the pending calls, while the run waits for them."""
    path = f"/threads/{waiting_run['thread_id']}/runs/{waiting_run['id']}/submit_tool_outputs"
    for wrong in ([], [{"tool_call_id": "call_other", "output": ""}], [{}]):
        await api("POST", path, {"tool_outputs": wrong}, status=400)
    await api("POST", path, {"tool_outputs": outputs})
    error = await api("POST", path, {"tool_outputs": outputs}, status=400)
    assert "do not accept tool outputs" in error["error"]["message"]


async def test_outputs_that_are_too_large(api, waiting_run, outputs):
    """All outputs together may have 512 kB, as users reported of the hosted API."""
    path = f"/threads/{waiting_run['thread_id']}/runs/{waiting_run['id']}/submit_tool_outputs"
    large = [output | {"output": "x" * 524_288} for output in outputs]
    error = await api("POST", path, {"tool_outputs": large}, status=400)
    assert (error["error"]["param"], error["error"]["code"]) == ("tool_outputs", "invalid_value")


async def test_when_to_ask_again(api, waiting_run, assistant, thread):
    """Each response with an unfinished run has a poll hint; one with an ended run has none."""
    path = f"/threads/{thread['id']}/runs/{waiting_run['id']}"
    responses = [
        await api.send("GET", path),
        await api.send("POST", path, {}),
        await api.send("POST", f"{path}/cancel"),
    ]
    run = await api.ended(responses[-1].body)
    responses.append(await api.send("POST", f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]}))
    responses.append(await api.send("POST", "/threads/runs", {"assistant_id": assistant["id"]}))
    for response in responses:
        if response.body["status"] not in ("cancelled", "completed"):
            assert 0 < int(response.headers["openai-poll-after-ms"]) <= 5000
    assert "openai-poll-after-ms" not in (await api.send("GET", f"/threads/{thread['id']}/runs/{run['id']}")).headers


async def test_what_to_include(api, waiting_run):
    """`include[]` accepts only the API's value."""
    path = f"/threads/{waiting_run['thread_id']}/runs?include[]=everything"
    error = await api("POST", path, {"assistant_id": "asst_1"}, status=400)
    assert error["error"]["param"] == "include"


async def test_nobody(api, thread, assistant):
    """A missing object is a 404 in every operation, and the error names it."""
    everything = f"/threads/{thread['id']}/runs"
    for method, rest, body in [
        ("GET", "/run_1", None),
        ("POST", "/run_1", {}),
        ("POST", "/run_1/cancel", None),
        ("POST", "/run_1/submit_tool_outputs", {"tool_outputs": []}),
    ]:
        error = await api(method, everything + rest, body, status=404)
        assert error["error"]["message"] == "No run found with id 'run_1'."
    await api("POST", everything, {"assistant_id": "asst_nobody"}, status=404)
    await api("POST", "/threads/thread_nobody/runs", {"assistant_id": assistant["id"]}, status=404)


async def test_runs_of_all_threads(api, assistant, waiting_run):
    """Beyond the API: an owner's runs are listed whatever their threads, and found without the thread's ID."""
    second = await api("POST", "/threads/runs", {"assistant_id": assistant["id"]})
    page = await api("GET", "/runs")
    assert ([run["id"] for run in page["data"]], page["has_more"]) == ([second["id"], waiting_run["id"]], False)
    page = await api("GET", f"/runs?order=asc&limit=1&before={second['id']}")
    assert [run["id"] for run in page["data"]] == [waiting_run["id"]]
    assert await api("GET", f"/runs/{waiting_run['id']}") == waiting_run
    error = await api("GET", "/runs/run_1", status=404)
    assert error["error"]["message"] == "No run found with id 'run_1'."
