# ruff: noqa: T201  # printing is its purpose
"""A process that commits as fast as it can until it is killed, and prints the ID of each finished commit."""

import asyncio
import itertools
import os
import sys

from openai_runs._postgres import is_postgres
from openai_runs.models.run import RunStatus
from openai_runs.stores.postgres import PostgresStore
from openai_runs.stores.records import Delete, RunState
from openai_runs.stores.sqlite import SQLiteStore
from openai_runs.stores.store import Store
from tests.stores.objects import message, run, state, thread


async def commit_runs(store: Store, name: str) -> None:
    for number in itertools.count():
        id = f"{name}/{number}"
        await store.commit([thread(id), message(id, id), run(id, id), state(id, id)])
        print("begun", id, flush=True)
        ended = run(id, id, status=RunStatus.COMPLETED)
        await store.commit([ended, message(f"{id} answer", id, run_id=id), Delete(RunState, id)])
        print("ended", id, flush=True)


async def main(path: str, *folder: str) -> None:
    kept = PostgresStore(path, folder=folder[0]) if is_postgres(path) else SQLiteStore(path)
    async with kept as store, asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(commit_runs(store, f"{os.getpid()}/{number}"))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
