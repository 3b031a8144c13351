"""A run's life with one tool call, request by request: CPU of its eight requests, 200 lives at once.

Each contender sends the same: thread, message, run, two polls, tool outputs, a poll, the answer.
"""

import aiohttp
import openai

import openai_runs
from tests.bench.reading import HEADERS
from tests.bench.rounds import FLOOR, OPENAI, OURS, Bench, Work, stub

IN_FLIGHT = 200
QUESTION, OUTPUT = "What is the weather in Oslo?", "Rain, 8 degrees."


async def measure(bench: Bench) -> None:
    async with stub("tests.bench.batch_stub") as origin:
        url = f"{origin}/tools/v1"
        async with (
            openai_runs.Session(url, "sk-benchmark", max_connections=IN_FLIGHT) as session,
            aiohttp.ClientSession(headers=HEADERS, connector=aiohttp.TCPConnector(limit=IN_FLIGHT)) as http,
            openai.AsyncOpenAI(base_url=url, api_key="sk-benchmark") as client,
        ):
            lives = contenders(session, http, client, url)
            await bench.compare("lifecycle", lives, times=IN_FLIGHT, in_flight=IN_FLIGHT)


def contenders(
    session: openai_runs.Session, http: aiohttp.ClientSession, client: openai.AsyncOpenAI, url: str
) -> dict[str, Work]:
    """One life each, at the same server."""

    async def ours() -> None:
        thread = await session.threads.create()
        await session.messages.create(thread.id, role="user", content=QUESTION)
        run = await session.runs.create(thread.id, assistant_id="asst_1")
        await session.runs.retrieve(run)
        run = await session.runs.retrieve(run)
        outputs = [openai_runs.ToolOutput(tool_call_id=call.id, output=OUTPUT) for call in run.pending_tool_calls]
        await session.runs.submit_tool_outputs(run, outputs)
        run = await session.runs.retrieve(run)
        page = await session.messages.list(thread.id, run_id=run.id).page()
        assert run.status == "completed"
        assert page.data

    async def send(method: str, address: str, body: bytes | None = None) -> bytes:
        async with http.request(method, address, data=body) as response:
            return await response.read()

    async def floor() -> None:
        thread = _id(await send("POST", f"{url}/threads", b"{}"))
        messages = f"{url}/threads/{thread}/messages"
        await send("POST", messages, b'{"role":"user","content":"%s"}' % QUESTION.encode())
        run = _id(await send("POST", f"{url}/threads/{thread}/runs", b'{"assistant_id":"asst_1"}'))
        address = f"{url}/threads/{thread}/runs/{run}"
        await send("GET", address)
        await send("GET", address)
        outputs = b'{"tool_outputs":[{"tool_call_id":"call_1","output":"%s"}]}' % OUTPUT.encode()
        await send("POST", f"{address}/submit_tool_outputs", outputs)
        assert b'"completed"' in await send("GET", address)
        await send("GET", f"{messages}?run_id={run}")

    async def theirs() -> None:
        threads = client.beta.threads
        thread = await threads.create()
        await threads.messages.create(thread.id, role="user", content=QUESTION)
        run = await threads.runs.create(thread.id, assistant_id="asst_1")
        await threads.runs.retrieve(run.id, thread_id=thread.id)
        run = await threads.runs.retrieve(run.id, thread_id=thread.id)
        assert run.required_action is not None
        calls = run.required_action.submit_tool_outputs.tool_calls
        outputs = [{"tool_call_id": call.id, "output": OUTPUT} for call in calls]
        await threads.runs.submit_tool_outputs(run.id, thread_id=thread.id, tool_outputs=outputs)  # type: ignore[arg-type]  # literals are dicts here
        run = await threads.runs.retrieve(run.id, thread_id=thread.id)
        page = await threads.messages.list(thread.id, run_id=run.id)
        assert run.status == "completed"
        assert page.data

    return {OURS: ours, FLOOR: floor, OPENAI: theirs}


def _id(body: bytes) -> str:
    """The first ID in it."""
    return body.split(b'"id": "', 1)[1].split(b'"', 1)[0].decode()
