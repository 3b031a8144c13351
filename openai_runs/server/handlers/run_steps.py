"""``/threads/{thread_id}/runs/{run_id}/steps``: the server's side of `openai_runs.services.run_steps`."""

from typing import Final

from aiohttp import web

from openai_runs._wire.paths import STEP, STEPS
from openai_runs.server.exchange import ENGINE, OWNER, json_response, page_response
from openai_runs.server.validation import check_include, page_query


async def retrieve(request: web.Request) -> web.Response:
    """Operation ``getRunStep``."""
    ids = (request.match_info[name] for name in ("thread_id", "run_id", "step_id"))
    check_include(request.query)
    return json_response(await request.app[ENGINE].run_steps.retrieve(request[OWNER], *ids))


async def list(request: web.Request) -> web.Response:
    """Operation ``listRunSteps``."""
    thread_id, run_id = request.match_info["thread_id"], request.match_info["run_id"]
    check_include(request.query)
    query = page_query(request.query)
    return await page_response(
        await request.app[ENGINE].run_steps.list(request[OWNER], thread_id, run_id, query), query
    )


ROUTES: Final = (
    ("GET", STEPS, list),
    ("GET", STEP, retrieve),
)
