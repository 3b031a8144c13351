"""The least that there is, aiohttp alone: ``python -m tests.cost.floor get NUMBER URL``, or ``serve``.

The first reads the bytes of a run so many times, as `tests.cost.client` does; the second is a server that answers a
`GET` of a run with bytes made beforehand.
"""

import asyncio
import gc
import sys
from contextlib import suppress


async def get(number: int, url: str) -> None:
    import aiohttp

    headers = {"Authorization": "Bearer sk-cost", "OpenAI-Beta": "assistants=v2"}
    async with aiohttp.ClientSession(headers=headers) as http:
        for _ in range(number):
            async with http.get(f"{url}/threads/thread_abc/runs/run_abc") as response:
                await response.read()


def serve() -> None:
    """Answer like the server, as far as `tests.cost.instructions.get_runs` asks it."""
    from aiohttp import web

    from tests.bench.stub import RUN

    async def created(request: web.Request) -> web.Response:
        return web.json_response({"id": "run_abc", "thread_id": "thread_abc"})

    async def run(request: web.Request) -> web.Response:
        return web.Response(body=RUN, content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/assistants", created)
    app.router.add_post("/v1/threads/runs", created)
    app.router.add_get("/v1/threads/{thread_id}/runs/{run_id}", run)

    async def listen() -> None:
        runner = web.AppRunner(app, access_log=None, handle_signals=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(f"listening http://127.0.0.1:{runner.addresses[0][1]}/v1", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    with suppress(web.GracefulExit):  # SIGTERM
        asyncio.run(listen())


if __name__ == "__main__":
    if sys.argv[1] == "get":
        gc.disable()  # it runs when it likes
        asyncio.run(get(int(sys.argv[2]), sys.argv[3]))
    else:
        serve()
