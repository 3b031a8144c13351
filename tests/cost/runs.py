"""What a server does for runs, one after the other: programs whose server's instructions are counted."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import anyio
from aiohttp import web

_TOOL: Final = {"type": "function", "function": {"name": "look_up"}}
_GAP: Final = 0.02  # seconds between two tokens: the server joins what comes at once
_WAITING: Final = {"Prefer": 'wait=20; while="queued in_progress"'}


async def _new_assistant(http: aiohttp.ClientSession, url: str, **fields: Any) -> str:
    async with http.post(f"{url}/assistants", json={"model": "m", **fields}) as response:
        assistant: dict[str, str] = await response.json()
    return assistant["id"]


def scripted_runs(url: str, number: int) -> None:
    """Have so many runs with a message, a tool call and an answer; each change is waited for."""

    async def run(http: aiohttp.ClientSession, assistant_id: str) -> None:
        thread = {"messages": [{"role": "user", "content": "Look it up."}]}
        async with http.post(f"{url}/threads/runs", json={"assistant_id": assistant_id, "thread": thread}) as response:
            created = await response.json()
        thread_url = f"{url}/threads/{created['thread_id']}"
        run_url = f"{thread_url}/runs/{created['id']}"
        async with http.get(run_url, headers=_WAITING) as response:
            [call] = (await response.json())["required_action"]["submit_tool_outputs"]["tool_calls"]
        outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "found"}]}
        async with http.post(f"{run_url}/submit_tool_outputs", json=outputs) as response:
            await response.read()
        async with http.get(run_url, headers=_WAITING) as response:
            assert (await response.json())["status"] == "completed"
        async with http.get(f"{thread_url}/messages") as response:
            assert len((await response.json())["data"]) == 2

    async def runs() -> None:
        async with aiohttp.ClientSession() as http:
            assistant_id = await _new_assistant(http, url, tools=[_TOOL])
            for _ in range(number):
                await run(http, assistant_id)

    anyio.run(runs)


class SlowModel:
    """A model's endpoint that sends a token once the one before has come through: so each comes alone."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._left = 0  # tokens of the next answer
        self._next = asyncio.Event()

    @property
    def options(self) -> list[str]:
        """What has a server ask this model."""
        return ["--backend", "chat", "--model-url", f"http://127.0.0.1:{self._socket.getsockname()[1]}"]

    def tokens(self, url: str, number: int) -> None:
        """Stream a run whose answer has so many tokens."""

        async def stream() -> None:
            async with self._answering(number), aiohttp.ClientSession() as http:
                body = {"assistant_id": await _new_assistant(http, url), "stream": True}
                async with http.post(f"{url}/threads/runs", json=body) as response:
                    async for line in response.content:
                        if line == b"event: thread.message.delta\n":
                            self._next.set()

        anyio.run(stream)

    @asynccontextmanager
    async def _answering(self, number: int) -> AsyncIterator[None]:
        self._left, self._next = number, asyncio.Event()
        app = web.Application()
        app.router.add_post("/chat/completions", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.SockSite(runner, self._socket.dup()).start()
        try:
            yield
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number in range(self._left):
            self._next.clear()
            reason = "stop" if number == self._left - 1 else None
            delta = {"role": "assistant", "content": f"word{number % 100} "}
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m"}
            chunk["choices"] = [{"index": 0, "delta": delta, "finish_reason": reason}]
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
            await self._next.wait()
            await asyncio.sleep(_GAP)
        await response.write(b"data: [DONE]\n\n")
        return response
