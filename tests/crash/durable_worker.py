"""A program with a durable batch, to be killed and started again: it submits the same jobs, and goes on."""

import argparse
import os
import uuid
from pathlib import Path

import anyio

from openai_runs import Polling, Session, Toolbox
from openai_runs.batch.durable import DurableBatches
from openai_runs.toolbox import current_call


def noting_toolbox(calls: Path) -> Toolbox:
    """A tool that notes each call with its output, a new one each time."""
    toolbox = Toolbox()

    @toolbox.tool
    async def look_up(word: str) -> str:
        """Look a word up."""
        call, output = current_call(), uuid.uuid4().hex
        with calls.open("ab", buffering=0) as file:  # one write: whole lines, also of several processes
            file.write(f"{os.getpid()} {call.run_id} {call.idempotency_key} {output}\n".encode())
        return output

    return toolbox


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store")
    parser.add_argument("url")
    parser.add_argument("assistant")
    parser.add_argument("calls", type=Path)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--workers", type=int, default=32)
    options = parser.parse_args()
    jobs = (
        {"assistant_id": options.assistant, "thread": {"messages": [{"role": "user", "content": f"What is {n}?"}]}}
        for n in range(options.jobs)
    )
    async with (
        Session(options.url, "key", max_retries=10) as session,
        DurableBatches.open(
            options.store,
            session,
            toolbox=noting_toolbox(options.calls),
            workers=options.workers,
            polling=Polling(first=0.05, longest=0.5),
        ) as batches,
    ):
        batch = await batches.submit(jobs, name="killed")
        results = [result.index async for result in batch.results() if result.ok]
        print(len(results), len(set(results)))


if __name__ == "__main__":
    anyio.run(main)
