"""An aiohttp app that answers questions: at once, or while the model writes.

``python app.py`` starts it on port 8000, or the one in ``PORT``. ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` name the
endpoint.
"""

import logging
import os
from collections.abc import AsyncIterator
from json import JSONDecodeError
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from openai_runs import OpenAIRunsError, Session, Toolbox
from openai_runs.relay import relay

PAGE = Path(__file__).parents[1] / "ask.html"
SESSION = web.AppKey("session", Session)
ASSISTANT_ID = web.AppKey("assistant_id", str)

logger = logging.getLogger("shop")
toolbox = Toolbox()


@toolbox.tool
async def opening_hours() -> str:
    """Tell when the shop is open."""
    return "9 to 18 h"


async def runs(app: web.Application) -> AsyncIterator[None]:
    """Opens the session that all requests share."""
    async with Session() as session:
        assistant = await session.assistants.create(model="gpt-4o-mini", tools=toolbox.tools)
        app[SESSION], app[ASSISTANT_ID] = session, assistant.id
        yield


@web.middleware
async def own_pages_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse pages of other sites, which would have their visitors ask us."""
    if request.path != "/" and request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise web.HTTPForbidden
    return await handler(request)


@web.middleware
async def failures(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except OpenAIRunsError as error:
        logger.error("%s was not answered: %s", request.path, error)  # noqa: TRY400  # a sentence is enough; browsers get none
        raise web.HTTPBadGateway(text="There is no answer now.") from error


async def page(request: web.Request) -> web.StreamResponse:
    return web.FileResponse(PAGE)


def checked(question: object) -> str:
    if isinstance(question, str) and 1 <= len(question) <= 4000:
        return question
    raise web.HTTPBadRequest(text="question must be a text of 1 to 4000 characters")


async def ask(request: web.Request) -> web.StreamResponse:
    try:
        body = await request.json()
    except JSONDecodeError as error:
        raise web.HTTPBadRequest(text="the body must be JSON") from error
    question = checked(body.get("question") if isinstance(body, dict) else None)
    session = request.app[SESSION]
    run = await session.threads.create_and_run(
        assistant_id=request.app[ASSISTANT_ID],
        thread={"messages": [{"role": "user", "content": question}]},
    )
    run = await session.runs.complete(run, toolbox=toolbox, deadline=60, on_exit="cancel")
    newest = await session.messages.list(run.thread_id, run_id=run.id, limit=1).page()
    return web.json_response({"answer": newest.data[0].text})


async def ask_stream(request: web.Request) -> web.StreamResponse:
    async with request.app[SESSION].threads.stream_run(
        assistant_id=request.app[ASSISTANT_ID],
        thread={"messages": [{"role": "user", "content": checked(request.query.get("question"))}]},
        toolbox=toolbox,
        deadline=60,
        on_exit="cancel",
    ) as stream:
        return await relay(request, stream)


def create_app() -> web.Application:
    app = web.Application(middlewares=[own_pages_only, failures])
    app.cleanup_ctx.append(runs)
    app.add_routes([web.get("/", page), web.post("/ask", ask), web.get("/ask/stream", ask_stream)])
    return app


if __name__ == "__main__":
    web.run_app(create_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
