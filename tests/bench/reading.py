"""Reading a run, and a list of them: CPU of a request, beside openai-python and aiohttp alone."""

import aiohttp
import openai

import openai_runs
from tests.bench.rounds import FLOOR, OPENAI, OURS, Bench, Work, stub

HEADERS = {"Authorization": "Bearer sk-benchmark", "OpenAI-Beta": "assistants=v2"}


async def measure(bench: Bench) -> None:
    async with stub("tests.bench.stub") as origin:
        url = f"{origin}/v1"
        one, many = f"{url}/threads/thread_abc/runs/run_abc", f"{url}/threads/thread_abc/runs?limit=100"
        async with (
            openai_runs.Session(url, "sk-benchmark") as session,
            aiohttp.ClientSession(headers=HEADERS) as http,
            openai.AsyncOpenAI(base_url=url, api_key="sk-benchmark") as client,
        ):

            async def floor(address: str) -> bytes:
                async with http.get(address) as response:
                    return await response.read()

            async def openai_page() -> object:
                return await client.beta.threads.runs.list("thread_abc", limit=100)

            retrieve: dict[str, Work] = {
                OURS: lambda: session.runs.retrieve(thread_id="thread_abc", run_id="run_abc"),
                FLOOR: lambda: floor(one),
                OPENAI: lambda: client.beta.threads.runs.retrieve("run_abc", thread_id="thread_abc"),
            }
            pages: dict[str, Work] = {
                OURS: lambda: session.runs.list("thread_abc", limit=100).page(),
                FLOOR: lambda: floor(many),
                OPENAI: openai_page,
            }
            await bench.compare("get one", retrieve, times=300)
            await bench.compare("get many", retrieve, times=1000, in_flight=64)
            await bench.compare("list", pages, times=40, per=100)
