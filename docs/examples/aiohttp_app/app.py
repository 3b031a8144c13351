"""An aiohttp app that answers questions: at once, or while the model writes.

``python app.py`` starts it on port 8000, or the one in ``PORT``. ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` name the
endpoint.
"""

import logging
import os
from collections.abc import AsyncIterator
from json import JSONDecodeError
from pathlib import Path
from uuid import uuid4

from aiohttp import web
from aiohttp.typedefs import Handler

from openai_runs import OpenAIRunsError, RateLimitError, Session, Toolbox, TransportError
from openai_runs.errors import ServerError
from openai_runs.relay import relay

PAGE = Path(__file__).parents[1] / "ask.html"
logger = logging.getLogger("shop")
toolbox = Toolbox()


@toolbox.tool
async def opening_hours() -> str:
    """Tell when the shop is open."""
    return "9 to 18 h"


class Shop:
    """What all requests share: the session, and the assistant."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._key = uuid4().hex
        self._assistant_id: str | None = None

    async def assistant_id(self) -> str:
        """Made with the first question, so that the app starts while its endpoint is away."""
        if self._assistant_id is None:  # two first questions at once have the same key, which makes one assistant
            assistant = await self.session.assistants.create(
                model="gpt-4o-mini", tools=toolbox.tools, idempotency_key=self._key
            )
            self._assistant_id = assistant.id
        return self._assistant_id


SHOP = web.AppKey("shop", Shop)


async def runs(app: web.Application) -> AsyncIterator[None]:
    async with Session() as session:
        app[SHOP] = Shop(session)
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
    except OpenAIRunsError as failure:
        error = failure
    logger.error("%s was not answered: %s", request.path, error)  # browsers get none of it
    if isinstance(
        error, TransportError | ServerError | RateLimitError | TimeoutError
    ):  # a deadline's is a TimeoutError
        detail = "There is no answer now. Ask again in a minute."
        return web.json_response({"detail": detail}, status=503, headers={"Retry-After": "60"})
    return web.json_response({"detail": "There is no answer."}, status=502)


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
    shop = request.app[SHOP]
    session = shop.session
    run = await session.threads.create_and_run(
        assistant_id=await shop.assistant_id(),
        thread={"messages": [{"role": "user", "content": question}]},
    )
    run = await session.runs.complete(run, toolbox=toolbox, deadline=60, on_exit="cancel")
    newest = await session.messages.list(run.thread_id, run_id=run.id, limit=1).page()
    return web.json_response({"answer": newest.data[0].text})


async def ask_stream(request: web.Request) -> web.StreamResponse:
    question, shop = checked(request.query.get("question")), request.app[SHOP]
    async with shop.session.threads.stream_run(
        assistant_id=await shop.assistant_id(),
        thread={"messages": [{"role": "user", "content": question}]},
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
