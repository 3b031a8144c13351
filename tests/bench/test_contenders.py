"""What the benchmark compares does what it is meant to do; nothing here is timed."""

import asyncio

import aiohttp
import openai
import pytest

import openai_runs
from tests.bench.followers import follow
from tests.bench.lifecycle import contenders
from tests.bench.reading import HEADERS
from tests.bench.rounds import FLOOR, OPENAI, OURS, stub
from tests.bench.throughput import Requests

pytestmark = pytest.mark.unmeasured


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # openai marks all of this deprecated
def test_each_contender_lives_through_a_run():
    """All of them get the run to its end and read the answer; this library in no more requests than the others."""

    async def live() -> int:
        async with stub("tests.bench.batch_stub") as origin:
            url, requests = f"{origin}/tools/v1", Requests()
            async with (
                openai_runs.Session(url, "key") as session,
                aiohttp.ClientSession(headers=HEADERS) as http,
                openai.AsyncOpenAI(base_url=url, api_key="key") as client,
            ):
                requests.watch(session)
                lives = contenders(session, http, client, url)
                assert list(lives) == [OURS, FLOOR, OPENAI]
                for life in lives.values():
                    await life()
            return requests.count

    assert asyncio.run(live()) == 8


def test_followers_are_polled_while_they_wait():
    """Polls are sent, and the event loop is looked at, while no run ends."""

    async def measured() -> dict[str, float]:
        async with stub("tests.bench.batch_stub") as origin:
            return await follow(origin, 20, 0.1)

    found = asyncio.run(measured())
    assert found["due"] == pytest.approx(14)  # 70 runs, those that warm up among them, every 5 seconds
    assert 0 <= found["median"] <= found["delay"]
