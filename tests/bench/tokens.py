"""From a model's token to the client's event: how long it takes through engine and server, and what it costs.

Three processes: a model endpoint that speaks Chat Completions and stamps each token with the time,
``openai-runs serve`` in front of it, and this one as the client. Run as a module, this is the model.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from aiohttp import web
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from openai_runs import Session
from tests.bench.throughput import cpu
from tests.serving import serving

TOKENS = 200
GAP = 0.01  # seconds between two tokens of an answer
STREAMS = (1, 20)


async def measure(console: Console) -> None:
    """Measure, and print a table."""
    model = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.tokens", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert model.stdin is not None
    assert model.stdout is not None
    model_url = f"http://127.0.0.1:{int(await model.stdout.readline())}"
    table = Table(title="from a model's token to the client's event, engine and server between", title_justify="left")
    for heading in ("streams at once", "latency p50, ms", "p99, ms", "CPU a token, server, µs", "client, µs"):
        table.add_column(heading, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        arguments = ("--backend", "chat", "--model-url", model_url, "--no-access-log")
        with serving(Path(folder) / "runs.db", *arguments, PATH=os.environ["PATH"]) as (url, server):
            async with Session(url) as session:
                assistant = await session.assistants.create(model="stamping")
                await one(session, assistant.id)  # to warm up
                with Progress(console=console, transient=True) as progress:
                    for streams in progress.track(STREAMS, description="tokens"):
                        server_cpu, own_cpu = cpu(server.pid), time.process_time()
                        delays = await asyncio.gather(*(one(session, assistant.id) for _ in range(streams)))
                        server_cpu, own_cpu = cpu(server.pid) - server_cpu, time.process_time() - own_cpu
                        ms = [delay * 1e3 for some in delays for delay in some]
                        each = 1e6 / len(ms)
                        row = (statistics.median(ms), statistics.quantiles(ms, n=100)[98])
                        table.add_row(
                            str(streams),
                            *(f"{x:.2f}" for x in row),
                            f"{server_cpu * each:.0f}",
                            f"{own_cpu * each:.0f}",
                        )
    model.stdin.close()
    await model.wait()
    console.print(table)


async def one(session: Session, assistant_id: str) -> list[float]:
    """The delay of each token of a run, in seconds."""
    delays: list[float] = []
    thread = await session.threads.create(messages=[{"role": "user", "content": "Go."}])
    async with session.runs.stream(thread.id, assistant_id=assistant_id) as stream:
        async for text in stream.text_deltas():
            now = time.monotonic_ns()
            delays += [(now - int(stamp)) / 1e9 for stamp in text.split()]
    assert len(delays) == TOKENS
    return delays


async def _answer(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for number in range(TOKENS):
        delta = {"role": "assistant", "content": f"{time.monotonic_ns()} "}
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        if number == TOKENS - 1:
            choice["finish_reason"] = "stop"
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]}
        await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        await asyncio.sleep(GAP)
    await response.write(b"data: [DONE]\n\n")
    return response


async def _serve() -> None:
    app = web.Application()
    app.router.add_post("/chat/completions", _answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # ends with the process that started us


if __name__ == "__main__":
    asyncio.run(_serve())
