"""A FastAPI app that answers questions: at once, or while the model writes.

``uvicorn app:app`` starts it. ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` name the endpoint.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, TypedDict
from uuid import uuid4

from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, StringConstraints
from starlette.types import Send

from openai_runs import OpenAIRunsError, RateLimitError, Session, Toolbox, TransportError
from openai_runs.errors import ServerError
from openai_runs.following.streaming import RunStream
from openai_runs.relay import HEADERS, relay_to

PAGE = Path(__file__).parents[1] / "ask.html"
Question = Annotated[str, StringConstraints(min_length=1, max_length=4000)]

logger = logging.getLogger("uvicorn.error")  # uvicorn writes it to the terminal
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


class State(TypedDict):
    shop: Shop


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[State]:
    async with Session() as session:
        yield {"shop": Shop(session)}


class EventStream(StreamingResponse):
    """Relays a stream of a run to a browser; opens and closes it in one task."""

    def __init__(self, stream: RunStream) -> None:
        super().__init__((), headers=HEADERS)
        self.stream = stream

    async def stream_response(self, send: Send) -> None:
        async def write(data: bytes, *, more_body: bool = True) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": more_body})

        async with self.stream:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if await relay_to(write, self.stream):
                await write(b"", more_body=False)


async def own_pages_only(sec_fetch_site: Annotated[str, Header()] = "same-origin") -> None:
    """Refuse pages of other sites, which would have their visitors ask us."""
    if sec_fetch_site != "same-origin":
        raise HTTPException(403)


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def page() -> FileResponse:
    return FileResponse(PAGE)


class Ask(BaseModel):
    question: Question


@app.post("/ask", dependencies=[Depends(own_pages_only)])
async def ask(request: Request, body: Ask) -> dict[str, str]:
    shop: Shop = request.state.shop
    session = shop.session
    run = await session.threads.create_and_run(
        assistant_id=await shop.assistant_id(),
        thread={"messages": [{"role": "user", "content": body.question}]},
    )
    run = await session.runs.complete(run, toolbox=toolbox, deadline=60, on_exit="cancel")
    newest = await session.messages.list(run.thread_id, run_id=run.id, limit=1).page()
    return {"answer": newest.data[0].text}


@app.get("/ask/stream", dependencies=[Depends(own_pages_only)])
async def ask_stream(request: Request, question: Question) -> EventStream:
    shop: Shop = request.state.shop
    return EventStream(
        shop.session.threads.stream_run(
            assistant_id=await shop.assistant_id(),
            thread={"messages": [{"role": "user", "content": question}]},
            toolbox=toolbox,
            deadline=60,
            on_exit="cancel",
        )
    )


@app.exception_handler(OpenAIRunsError)
async def failed(request: Request, error: OpenAIRunsError) -> JSONResponse:
    logger.error("%s was not answered: %s", request.url.path, error)  # browsers get none of it
    if isinstance(
        error, TransportError | ServerError | RateLimitError | TimeoutError
    ):  # a deadline's is a TimeoutError
        detail = "There is no answer now. Ask again in a minute."
        return JSONResponse({"detail": detail}, 503, headers={"Retry-After": "60"})
    return JSONResponse({"detail": "There is no answer."}, 502)
