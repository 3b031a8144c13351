"""Scripted runs a second, end to end: a server process with a durable store, and this process as its client."""

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import anyio
from attrs import define, field
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from openai_runs import RunJob, Session, run_batch
from openai_runs._postgres import is_postgres
from tests.bench.rounds import Bench
from tests.postgres import postgres
from tests.serving import Server


@define
class Requests:
    """Those of a session: how many, and the longest answer time, by what was asked."""

    count: int = 0
    seconds: dict[str, float] = field(factory=dict)

    def watch(self, session: Session) -> None:
        sender = session._transport._sender
        send = sender.send

        async def timed(method: str, url: object, *rest: object, **options: object) -> object:
            began = time.perf_counter()
            self.count += 1
            try:
                return await send(method, url, *rest, **options)  # type: ignore[arg-type]  # a wrapper with the same signature
            finally:
                what = f"{method} {str(url).rsplit('/', 1)[-1].split('_')[0]}"
                self.seconds[what] = max(self.seconds.get(what, 0.0), time.perf_counter() - began)

        sender.send = timed  # type: ignore[method-assign,assignment]  # a wrapper with the same signature


def resident(pid: int | Literal["self"] = "self") -> float:
    """Megabytes of a process that are in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def cpu(pid: int) -> float:
    """CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def measure(bench: Bench, runs: int, in_flight: int = 500, store: str = "sqlite") -> None:
    """Run ``runs`` runs, ``in_flight`` at a time, and print what came of it."""
    console = bench.console
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        if store == "postgres":
            store = stack.enter_context(postgres(is_durable=True)).url()
        server = Server(Path(folder) / "runs.db" if store == "sqlite" else store, ["--files-folder", folder])
        server.start()
        assert server.process is not None
        try:
            async with Session(server.url, "key", max_retries=40, max_connections=in_flight) as session:
                assistant = await session.assistants.create(model="scripted")
            requests, memory = Requests(), [resident(server.process.pid)]
            async with Session(server.url, "key", max_retries=0, max_connections=in_flight) as session:
                requests.watch(session)
                jobs = (
                    RunJob(assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hello!"}]})
                    for _ in range(runs)
                )
                failed = 0
                began, server_cpu, own_cpu = time.perf_counter(), cpu(server.process.pid), time.process_time()
                with Progress(console=console, transient=True) as progress:
                    task = progress.add_task("scripted runs", total=runs)
                    async with run_batch(session, jobs, workers=in_flight, fetch_messages=False) as results:
                        async for result in results:
                            failed += not result.ok
                            progress.advance(task)
                            if results.finished % (runs // 4) == 0:
                                memory.append(resident(server.process.pid))
                took = time.perf_counter() - began
                server_cpu, own_cpu = cpu(server.process.pid) - server_cpu, time.process_time() - own_cpu
        finally:
            server.kill()
    bench.add("runs a second", runs / took)
    bench.add("server CPU a run", server_cpu / runs * 1e3)
    bench.add("client CPU a run", own_cpu / runs * 1e3)
    bench.add("requests a run", requests.count / runs)
    kind = "PostgreSQL" if is_postgres(store) else "SQLite"
    table = Table(title=f"{runs} scripted runs, {in_flight} in flight, {kind}", title_justify="left", show_header=False)
    table.add_row("runs a second", f"{runs / took:.0f}")
    table.add_row("not completed", f"{failed}")
    table.add_row("CPU a run, server", f"{server_cpu / runs * 1e3:.2f} ms")
    table.add_row("CPU a run, client", f"{own_cpu / runs * 1e3:.2f} ms")
    table.add_row("requests a run", f"{requests.count / runs:.2f}")
    table.add_row("server's memory, start and quarters", ", ".join(f"{m:.0f}" for m in memory) + " MB")
    table.add_row(
        "slowest answers", ", ".join(f"{what} {s * 1e3:.0f} ms" for what, s in sorted(requests.seconds.items()))
    )
    console.print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.bench.throughput", description=__doc__)
    parser.add_argument("runs", type=int)
    parser.add_argument("in_flight", type=int)
    parser.add_argument("--store", default="sqlite", help="sqlite, postgres (from a wheel, started for this), or a URL")
    options = parser.parse_args()
    bench = Bench(Console(), quick=False, uvloop=False, rounds=1)
    anyio.run(measure, bench, options.runs, options.in_flight, options.store)
