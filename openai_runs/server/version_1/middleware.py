"""Answers a client of version 1 of the API in its own shapes; the header ``OpenAI-Beta`` says who is one."""

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from openai_runs import _wire
from openai_runs.engine import ApiError
from openai_runs.models.run import Run
from openai_runs.server.exchange import ENGINE, OWNER, RESHAPING, UPGRADE, Reshape
from openai_runs.server.version_1.assistant_files import files_of
from openai_runs.server.version_1.downgrading import assistants_in, downgraded
from openai_runs.server.version_1.handlers import IN_PLACE_OF, ONLY_HERE
from openai_runs.server.version_1.upgrading import upgraded

_named_versions: Final = re.compile(r"assistants=(\w+)").findall
_JSON: Final = "application/json"


@web.middleware
async def version_1(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Translate a request of version 1 and its response; leave all others alone.

    The header may be left out: only the hosted API required it, which is gone, and other servers do not.

    Raises:
        ApiError: 400: the client is of a later version of the API.
        web.HTTPNotFound: The path is one of version 1, and the client is not.
    """
    named = _named_versions(request.headers.get("OpenAI-Beta", ""))
    own = request.match_info.handler
    if not named or "v2" in named:
        if own in ONLY_HERE:
            raise web.HTTPNotFound
        return await handler(request)
    if "v1" not in named:
        text = "This server speaks version 2 of the Assistants API. Please set the header 'OpenAI-Beta: assistants=v2'."
        raise ApiError(400, text, code="invalid_beta")
    request[UPGRADE] = upgraded
    reshaping: Callable[[Run], Awaitable[Reshape]] = partial(_reshaping, request)
    request[RESHAPING] = reshaping
    response = await IN_PLACE_OF.get(own, handler)(request)
    if isinstance(response, web.Response) and response.content_type == _JSON:
        shown = _wire.decode(response.text or "")
        files = {id: await files_of(request.app[ENGINE], request[OWNER], id) for id in assistants_in(shown)}
        response.body = _wire.encode_plain(downgraded(shown, files))
    return response


async def _reshaping(request: web.Request, run: Run) -> Reshape:
    files = {run.assistant_id: await files_of(request.app[ENGINE], request[OWNER], run.assistant_id)}
    return partial(downgraded, files=files)
