"""From a model's token to the client's event: how long it takes through engine and server, and what it costs.

Three processes: a model endpoint that speaks Chat Completions and stamps each token with the time,
``openai-runs serve`` in front of it, and this one as the client. Run as a module, this is the model.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from aiohttp import web
from rich.table import Table

from openai_runs import Session
from tests.bench.rounds import Bench, stub
from tests.bench.throughput import cpu
from tests.serving import serving

TOKENS = 200
#: Streams at once, and the tokens a second of each. The last one is what the goals are of.
CASES = [(1, 100), (20, 100), (100, 50)]


async def measure(bench: Bench) -> None:
    """Measure, the last case several times, and print a table."""
    cases = CASES if bench.quick else CASES + CASES[-1:] * 2
    goals: list[tuple[float, float, float]] = []
    table = Table(title="from a model's token to the client's event, engine and server between", title_justify="left")
    headings = (
        "streams at once",
        "tokens a second",
        "latency p50, ms",
        "p99, ms",
        "CPU a token, server, µs",
        "client, µs",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    async with stub("tests.bench.tokens") as model_url:
        with tempfile.TemporaryDirectory() as folder:
            arguments = ("--backend", "chat", "--model-url", model_url, "--no-access-log")
            with serving(Path(folder) / "runs.db", *arguments, PATH=os.environ["PATH"]) as (url, server):
                async with Session(url) as session:
                    await several(session, 1, 100)  # to warm up
                    for streams, rate in bench.track(cases, "tokens"):
                        server_cpu, own_cpu = cpu(server.pid), time.process_time()
                        ms = [delay * 1e3 for delay in await several(session, streams, rate)]
                        server_cpu, own_cpu = cpu(server.pid) - server_cpu, time.process_time() - own_cpu
                        each = 1e6 / len(ms)
                        p50, p99 = statistics.median(ms), statistics.quantiles(ms, n=100)[98]
                        costs = server_cpu * each, own_cpu * each
                        table.add_row(f"{streams}", f"{rate}", f"{p50:.2f}", f"{p99:.2f}", *(f"{x:.0f}" for x in costs))
                        if (streams, rate) == CASES[-1]:
                            goals.append((costs[0], p50, p99))
    for key, figures in zip(("token CPU", "token p50", "token p99"), zip(*goals, strict=True), strict=True):
        bench.add(key, *figures)
    bench.console.print(table)


async def several(session: Session, streams: int, rate: int) -> list[float]:
    """The delays of all tokens of so many runs, in seconds."""
    assistant = await session.assistants.create(model=f"stamping-{rate}")
    all_delays = await asyncio.gather(*(one(session, assistant.id) for _ in range(streams)))
    return [delay for delays in all_delays for delay in delays]


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
    gap = 1 / int((await request.json())["model"].rsplit("-", 1)[1])
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    due = time.monotonic()
    for number in range(TOKENS):
        reason = '"stop"' if number == TOKENS - 1 else "null"
        stamp = f'{{"role": "assistant", "content": "{time.monotonic_ns()} "}}'
        choice = f'{{"index": 0, "delta": {stamp}, "finish_reason": {reason}}}'
        head = '"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m"'
        await response.write(f'data: {{{head}, "choices": [{choice}]}}\n\n'.encode())
        due += gap  # a late token does not make the next ones later
        await asyncio.sleep(due - time.monotonic())
    await response.write(b"data: [DONE]\n\n")
    return response


async def _serve() -> None:
    app = web.Application()
    app.router.add_post("/chat/completions", _answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # ends with the process that started us


if __name__ == "__main__":
    asyncio.run(_serve())
