"""A program whose instructions are counted: ``python -m tests.cost.client MODE NUMBER URL``."""

import asyncio
import gc
import sys

from openai_runs import Session


async def main(mode: str, number: int, url: str) -> None:
    """Do one thing so many times."""
    async with Session(url, "sk-cost") as session:
        for _ in range(number):
            match mode:
                case "get":
                    await session.runs.retrieve(thread_id="thread_abc", run_id="run_abc")
                case "page":
                    await session.runs.list("thread_abc").page()
                case "stream":
                    async with session.runs.stream("thread_abc", assistant_id="asst_abc") as events:
                        async for _event in events:
                            pass


if __name__ == "__main__":
    gc.disable()  # it runs when it likes
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
