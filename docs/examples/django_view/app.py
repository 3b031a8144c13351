"""A Django project in one file: an async view that answers questions.

``uvicorn app:app`` starts it. ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` name the endpoint.
"""

import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from starlette.applications import Starlette
from starlette.routing import Mount

from openai_runs import OpenAIRunsError, RateLimitError, Session, TransportError
from openai_runs.errors import ServerError

logger = logging.getLogger("uvicorn.error")  # uvicorn writes it to the terminal

settings.configure(
    ALLOWED_HOSTS=os.environ.get("ALLOWED_HOSTS", "127.0.0.1 localhost").split(),
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.security.SecurityMiddleware"],
    USE_TZ=True,
)


class Shop:
    """What all requests share: the session, and the assistant."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._key = uuid4().hex
        self._assistant_id: str | None = None

    async def assistant_id(self) -> str:
        """Made with the first question, so that the project starts while its endpoint is away."""
        if self._assistant_id is None:  # two first questions at once have the same key, which makes one assistant
            assistant = await self.session.assistants.create(model="gpt-4o-mini", idempotency_key=self._key)
            self._assistant_id = assistant.id
        return self._assistant_id


@csrf_exempt  # which needs cookies; the header does the same
@require_POST
async def ask(request: ASGIRequest) -> HttpResponse:
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        return HttpResponse(status=403)  # another site's page, which would have its visitors ask us
    try:
        question = json.loads(request.body)["question"]
    except (ValueError, LookupError, TypeError):
        return JsonResponse({"detail": 'The body must be {"question": "…"}.'}, status=400)
    if not (isinstance(question, str) and 1 <= len(question) <= 4000):
        return JsonResponse({"detail": "The question must be a text of 1 to 4000 characters."}, status=400)
    shop: Shop = request.scope["state"]["shop"]
    session = shop.session
    try:
        run = await session.threads.create_and_run(
            assistant_id=await shop.assistant_id(),
            thread={"messages": [{"role": "user", "content": question}]},
        )
        run = await session.runs.complete(run, deadline=60, on_exit="cancel")
        newest = await session.messages.list(run.thread_id, run_id=run.id, limit=1).page()
    except OpenAIRunsError as error:
        logger.error("%s was not answered: %s", request.path, error)  # noqa: TRY400  # a sentence is enough; browsers get none
        return failed(error)
    return JsonResponse({"answer": newest.data[0].text})


def failed(error: OpenAIRunsError) -> HttpResponse:
    if isinstance(
        error, TransportError | ServerError | RateLimitError | TimeoutError
    ):  # a deadline's is a TimeoutError
        detail = "There is no answer now. Ask again in a minute."
        return JsonResponse({"detail": detail}, status=503, headers={"Retry-After": "60"})
    return JsonResponse({"detail": "There is no answer."}, status=502)


urlpatterns = [path("ask", ask)]


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, object]]:
    """Django itself has no event for the start and the end of the server; Starlette has."""
    async with Session() as session:
        yield {"shop": Shop(session)}


app = Starlette(lifespan=lifespan, routes=[Mount("/", app=get_asgi_application())])
