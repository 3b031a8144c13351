"""A server that ends each run after a few seconds, and enforces limits; a process of its own.

``python -m tests.bench.limited_stub '{"requests": 600, "tokens": 90000}'`` prints its port, then, once its input ends,
what it has counted, as JSON.
"""

import asyncio
import json
import math
import random
import sys
import time
from collections import Counter
from typing import Any

from aiohttp import web
from attrs import define, field

from tests.bench.stub import run_object

OPTIONS: dict[str, Any] = {
    "requests": math.inf,  # a minute
    "tokens": math.inf,  # a minute
    "burst": 5.0,  # seconds of a limit that may be used at once
    "counts_reads": True,
    "headers": False,  # whether responses say what the limits are
    "run_tokens": [100, 200],  # that a run uses, at least and at most
    "run_seconds": [1.0, 4.0],
}


@define
class Allowance:
    """A token bucket, of the server's own making."""

    a_minute: float
    burst: float  # seconds
    used: float = 0.0
    at: float = field(factory=time.monotonic)

    def seconds_to(self, amount: float) -> float:
        """Seconds until there is room for ``amount``."""
        rate, now = self.a_minute / 60, time.monotonic()
        if math.isinf(rate):
            return 0.0
        self.used, self.at = max(self.used - (now - self.at) * rate, 0.0), now
        return max((self.used + amount - rate * self.burst) / rate, 0.0)

    def headers(self, what: str) -> dict[str, str]:
        rate = self.a_minute / 60
        return {
            f"x-ratelimit-limit-{what}": f"{self.a_minute:.0f}",
            f"x-ratelimit-remaining-{what}": f"{max(rate * self.burst - self.used, 0):.0f}",
            f"x-ratelimit-reset-{what}": f"{self.used / rate * 1000:.0f}ms",
        }


class Stub:
    def __init__(self, options: dict[str, Any]) -> None:
        self.options = OPTIONS | options
        self.requests = Allowance(self.options["requests"], self.options["burst"])
        self.tokens = Allowance(self.options["tokens"], self.options["burst"])
        self.runs: dict[str, tuple[float, int]] = {}
        self.object = run_object()
        self.counts: Counter[str] = Counter()
        self.a_second: Counter[int] = Counter()  # polls
        self.noticed: dict[str, float] = {}  # seconds from the end of a run to the poll that shows it

    async def answer(self, request: web.Request) -> web.Response:
        self.counts["requests"] += 1
        creates = request.method == "POST"
        cost = random.randint(*self.options["run_tokens"]) if creates else 0
        wait = self.requests.seconds_to(1) if creates or self.options["counts_reads"] else 0.0
        if (wait := max(wait, self.tokens.seconds_to(cost) if creates else 0.0)) > 0:
            self.counts["refused"] += 1
            error = {"error": {"message": "Rate limit reached.", "type": "requests", "code": "rate_limit_exceeded"}}
            return web.json_response(error, status=429, headers={"Retry-After": f"{math.ceil(wait)}"})
        if creates or self.options["counts_reads"]:
            self.requests.used += 1
        self.tokens.used += cost
        headers: dict[str, str] = {}
        if self.options["headers"]:
            headers = self.requests.headers("requests") | self.tokens.headers("tokens")
        return web.json_response(self.create(cost) if creates else self.poll(request), headers=headers)

    def create(self, cost: int) -> dict[str, Any]:
        self.counts["created"] += 1
        run_id = f"run_{self.counts['created']}"
        self.runs[run_id] = time.monotonic() + random.uniform(*self.options["run_seconds"]), cost
        return self.object | {"id": run_id, "status": "queued", "usage": None}

    def poll(self, request: web.Request) -> dict[str, Any]:
        now = time.monotonic()
        run_id = request.path.rsplit("/", 1)[-1]
        if run_id not in self.runs:
            self.counts["other reads"] += 1
            return {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
        self.counts["polls"] += 1
        self.a_second[int(now)] += 1
        ends_at, cost = self.runs[run_id]
        if now < ends_at:
            return self.object | {"id": run_id, "status": "in_progress", "usage": None}
        self.noticed.setdefault(run_id, now - ends_at)
        usage = {"prompt_tokens": cost, "completion_tokens": 0, "total_tokens": cost}
        return self.object | {"id": run_id, "status": "completed", "usage": usage}


async def _serve() -> None:
    stub = Stub(json.loads(sys.argv[1]))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stub.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    print(site._server.sockets[0].getsockname()[1], flush=True)  # type: ignore[attr-defined]  # a server has sockets
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    seconds = sorted(stub.a_second.values())
    noticed = sorted(stub.noticed.values())
    print(
        json.dumps(
            stub.counts
            | {
                "most polls a second": seconds[-1] if seconds else 0,
                "noticed": [sum(noticed) / len(noticed), noticed[-1]] if noticed else [0, 0],
            }
        )
    )
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve())
