"""Event streams: CPU an event, at full speed and paced. Run as a module, this is the server."""

import asyncio
import json
import sys
from typing import Any

import aiohttp
import openai

import openai_runs
from tests.bench.rounds import FLOOR, OPENAI, OURS, Bench, Work, stub
from tests.bench.stub import run_object

#: Text deltas in a stream. A paced one has a tenth, and a millisecond after each.
DELTAS = 5000
PACED = DELTAS // 10
HANDLER = f"{OPENAI}, with a handler"


def events(deltas: int) -> list[bytes]:
    """A run that writes one text, each event an HTTP chunk, as servers send them."""
    run = run_object() | {"id": "run_abc", "thread_id": "thread_abc"}
    message = {"id": "msg_abc", "object": "thread.message", "created_at": 0, "thread_id": "thread_abc", "metadata": {}}
    message |= {"role": "assistant", "run_id": "run_abc", "assistant_id": "asst_abc", "status": "in_progress"}
    words = [f" word{number % 100}" for number in range(deltas)]
    content = [{"type": "text", "text": {"value": "".join(words), "annotations": []}}]

    def delta(word: str) -> Any:
        part = {"index": 0, "type": "text", "text": {"value": word}}
        return {"id": "msg_abc", "object": "thread.message.delta", "delta": {"content": [part]}}

    told = [
        *((f"thread.run.{status}", run | {"status": status}) for status in ("queued", "in_progress")),
        ("thread.message.created", message | {"content": []}),
        *(("thread.message.delta", delta(word)) for word in words),
        ("thread.message.completed", message | {"content": content, "status": "completed"}),
        ("thread.run.completed", run | {"status": "completed"}),
    ]
    compact = [json.dumps(payload, separators=(",", ":")) for _, payload in told]
    frames = [f"event: {name}\ndata: {text}\n\n".encode() for (name, _), text in zip(told, compact, strict=True)]
    frames.append(b"event: done\ndata: [DONE]\n\n")
    return [f"{len(frame):x}\r\n".encode() + frame + b"\r\n" for frame in frames]


async def measure(bench: Bench) -> None:
    async with stub("tests.bench.streams") as origin, aiohttp.ClientSession() as http:
        for key, path, deltas in (("stream burst", "fast", DELTAS), ("stream paced", "paced", PACED)):
            base = f"{origin}/{path}/v1"
            async with (
                openai_runs.Session(base, "sk-benchmark") as session,
                openai.AsyncOpenAI(base_url=base, api_key="sk-benchmark") as client,
            ):
                contenders = _contenders(session, client, http, base, deltas)
                if bench.quick:
                    del contenders[HANDLER]
                await bench.compare(key, contenders, times=3, per=deltas)


def _contenders(
    session: openai_runs.Session, client: openai.AsyncOpenAI, http: aiohttp.ClientSession, base: str, deltas: int
) -> dict[str, Work]:
    async def ours() -> None:
        count = 0
        async with session.runs.stream("thread_abc", assistant_id="asst_abc") as stream:
            async for _ in stream:
                count += 1
        assert count > deltas

    async def floor() -> None:
        async with http.post(f"{base}/threads/thread_abc/runs", json={}) as response:
            async for _ in response.content.iter_any():
                pass

    async def theirs() -> None:
        stream = await client.beta.threads.runs.create("thread_abc", assistant_id="asst_abc", stream=True)
        async for _ in stream:
            pass

    async def theirs_merged() -> None:
        async with client.beta.threads.runs.stream(thread_id="thread_abc", assistant_id="asst_abc") as stream:
            async for _ in stream:
                pass

    return {OURS: ours, FLOOR: floor, OPENAI: theirs, HANDLER: theirs_merged}


class Streams(asyncio.Protocol):
    """Answers each POST with a stream that was made beforehand."""

    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    fast = head + b"".join(events(DELTAS)) + b"0\r\n\r\n"
    paced = events(PACED)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.tasks: set[asyncio.Task[None]] = set()

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"POST /fast"):
            self.transport.write(self.fast)
        elif data.startswith(b"POST /paced"):
            task = asyncio.create_task(self.send())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def send(self) -> None:
        self.transport.write(self.head)
        for chunk in self.paced:
            self.transport.write(chunk)
            await asyncio.sleep(0.001)
        self.transport.write(b"0\r\n\r\n")


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Streams, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # ends with the process that started us


if __name__ == "__main__":
    asyncio.run(_serve())
