"""What a reader can do: start a run, answer its calls, cancel it. Each is a form, after which a page shows the run."""

from urllib.parse import quote

from aiohttp import web

from openai_runs.engine import ApiError
from openai_runs.server.console.forms import read_form
from openai_runs.server.console.rendering import page, see_other
from openai_runs.server.exchange import ENGINE, OWNER
from openai_runs.stores.records import PageQuery

#: What the name of a field begins with that has the output of a call; then comes the call's ID.
OUTPUT = "output."


async def cancel(request: web.Request) -> web.Response:
    """Cancel a run."""
    await read_form(request)
    engine, owner = request.app[ENGINE], request[OWNER]
    run = await engine.runs.find(owner, request.match_info["run_id"])
    await engine.runs.cancel(owner, run.thread_id, run.id)
    return _shown(run.id)


async def answer(request: web.Request) -> web.Response:
    """Submit what somebody has written as the outputs of a run's calls."""
    form = await read_form(request)
    engine, owner = request.app[ENGINE], request[OWNER]
    run = await engine.runs.find(owner, request.match_info["run_id"])
    outputs = [
        {"tool_call_id": name.removeprefix(OUTPUT), "output": _lines(text)}
        for name, text in form.items()
        if name.startswith(OUTPUT)
    ]
    await engine.runs.submit_tool_outputs(owner, run.thread_id, run.id, outputs)
    return _shown(run.id)


async def start_page(request: web.Request) -> web.Response:
    """Ask for an assistant and a message; with ``thread``, for a run on that thread."""
    engine, owner = request.app[ENGINE], request[OWNER]
    thread_id = request.query.get("thread") or None
    if thread_id is not None:
        await engine.threads.retrieve(owner, thread_id)
    assistants = await engine.assistants.list(owner, PageQuery(limit=100))
    latest = await engine.runs.list_all(owner, PageQuery(limit=1))
    return page(
        request,
        "start.html",
        thread_id=thread_id,
        assistants=assistants.data,
        has_more=assistants.has_more,
        chosen=next((run.assistant_id for run in latest.data), None),
    )


async def start(request: web.Request) -> web.Response:
    """Start a run, on a new thread if none is named."""
    form = await read_form(request)
    engine, owner = request.app[ENGINE], request[OWNER]
    if not (text := _lines(form.get("message", ""))).strip():
        raise ApiError(400, "The message is empty.")
    messages = [{"role": "user", "content": text}]
    # All that the API's document says of such a body is true of this one.
    body = {"assistant_id": form.get("assistant_id", "")}
    if thread_id := form.get("thread_id"):
        run = await engine.runs.create(owner, thread_id, {**body, "additional_messages": messages})
    else:
        run = await engine.threads.create_and_run(owner, {**body, "thread": {"messages": messages}})
    return _shown(run.id)


def _lines(text: str) -> str:
    """A text as it was written: forms end lines as typewriters do."""
    return text.replace("\r\n", "\n")


def _shown(run_id: str) -> web.Response:
    return see_other(f"/console/runs/{quote(run_id, safe='')}")
