"""A batch of many jobs against a server that ends each run at its second poll: jobs a second, and the peak of memory.

``python -m tests.bench.batch --jobs 100000``; the server is another process, so its memory and work do not count.
"""

import argparse
import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from openai_runs import Polling, RunJob, Session, run_batch
from openai_runs.batch.progress_bar import progress_bar

console = Console()


def jobs(count: int) -> Iterator[RunJob]:
    for number in range(count):
        thread = {"messages": [{"role": "user", "content": f"Summarise document {number}."}]}
        yield RunJob(key=f"document-{number}", assistant_id="asst_1", thread=thread)  # type: ignore[typeddict-item]  # a literal is a str here


def peak() -> float:
    """Megabytes of this process that were in memory at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def measure(count: int, workers: int, *, ordered: bool) -> int:
    """Run the batch, print what came of it, and return how many jobs are not accounted for."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.batch_stub", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    assert server.stdin is not None
    url = f"http://127.0.0.1:{int(await server.stdout.readline())}/v1"
    seen, bad, before = bytearray(count), 0, peak()  # one byte a job
    polling = Polling(first=0.02, longest=0.02)
    began, own = time.perf_counter(), time.process_time()
    async with Session(url, "sk-benchmark", max_connections=workers) as session:
        options = {"polling": polling, "ordered": ordered, "total": count}
        async with run_batch(session, jobs(count), workers=workers, **options) as results:
            with progress_bar(results, "jobs", console=console):
                async for result in results:
                    seen[result.index] += 1
                    bad += not (result.ok and result.text and result.key == f"document-{result.index}")
    took, own = time.perf_counter() - began, time.process_time() - own
    server.stdin.close()
    await server.wait()
    table = Table(title=f"{count:,} jobs, {workers} workers", title_justify="left", show_header=False)
    table.add_row("jobs a second", f"{count / took:.0f}")
    table.add_row("CPU a job", f"{own / count * 1e3:.2f} ms")
    table.add_row("without a result, with several", f"{seen.count(0)}, {count - seen.count(0) - seen.count(1)}")
    table.add_row("not completed", f"{bad}")
    table.add_row("tokens", f"{results.progress.tokens:,}")
    table.add_row("memory before, peak", f"{before:.1f} MB, {peak():.1f} MB")
    console.print(table)
    return count - seen.count(1) + bad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--ordered", action="store_true", help="results in the order of the source")
    options = parser.parse_args()
    sys.exit(asyncio.run(measure(options.jobs, options.workers, ordered=options.ordered)) != 0)


if __name__ == "__main__":
    main()
