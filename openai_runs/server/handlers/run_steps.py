"""``/threads/{thread_id}/runs/{run_id}/steps``: the server's side of `openai_runs.services.run_steps`."""

from typing import Final

from aiohttp import web

from openai_runs._wire.paths import STEP, STEPS
from openai_runs.server.exchange import ENGINE, OWNER, json_response, page_response
from openai_runs.server.validation import page_query, shows_search_content


async def retrieve(request: web.Request) -> web.Response:
    """Operation ``getRunStep``."""
    ids = (request.match_info[name] for name in ("thread_id", "run_id", "step_id"))
    shows_content = shows_search_content(request.query)
    steps = request.app[ENGINE].run_steps
    return json_response(await steps.retrieve(request[OWNER], *ids, shows_search_content=shows_content))


async def list(request: web.Request) -> web.Response:
    """Operation ``listRunSteps``."""
    thread_id, run_id = request.match_info["thread_id"], request.match_info["run_id"]
    shows_content, query = shows_search_content(request.query), page_query(request.query)
    engine = request.app[ENGINE]
    page = await engine.run_steps.list(request[OWNER], thread_id, run_id, query, shows_search_content=shows_content)
    return await page_response(page, query, engine.json)


ROUTES: Final = (
    ("GET", STEPS, list),
    ("GET", STEP, retrieve),
)
