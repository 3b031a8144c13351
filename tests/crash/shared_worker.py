"""A worker of a database, to be killed, stopped and cut off."""

import argparse
import logging
import os
from pathlib import Path

import anyio

from openai_runs import Polling, Session
from openai_runs.batch.durable import work
from tests.crash.durable_worker import noting_toolbox


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store")
    parser.add_argument("url")
    parser.add_argument("calls", type=Path)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--at-once", type=int)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {os.getpid()} %(name)s %(message)s")
    async with Session(options.url, "key", max_retries=5) as session:
        await work(
            options.store,
            session,
            toolbox=noting_toolbox(options.calls),
            workers=options.workers,
            at_once=options.at_once,
            polling=Polling(first=0.1, longest=0.5),
        )


if __name__ == "__main__":
    anyio.run(main)
