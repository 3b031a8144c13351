"""One request and its answer, as the handlers see them: who asks, what was sent, what goes back."""

from typing import Any, Final

from aiohttp import web

from openai_runs import _wire
from openai_runs.engine import ApiError, Engine
from openai_runs.models.model import Model
from openai_runs.models.run import Run
from openai_runs.server import validation
from openai_runs.server.poll_hint import PollHint

ENGINE: Final = web.AppKey("engine", Engine)
POLL_HINT: Final = web.AppKey("poll_hint", PollHint)
#: Where a request carries the label of its owner; the empty one if the server has no keys.
OWNER: Final = "openai_runs.owner"

_CONTENT_TYPE: Final = "application/json"


async def read_body(request: web.Request, schema: str, *, required: bool = True) -> dict[str, Any]:
    """Read a request's JSON object and hold it against the API's document.

    Args:
        request: The request.
        schema: The body's name in the document.
        required: Whether there has to be one; if not, none is as good as ``{}``.

    Raises:
        ApiError: 400 or 415; it is not what the API takes.
        web.HTTPRequestEntityTooLarge: It is larger than the server takes.
    """
    text = await request.read()
    if not text and not required:
        return {}
    # A browser sends JSON as something else to any server, a local one too, without asking that server first.
    if request.content_type != _CONTENT_TYPE:
        given = request.headers.get("Content-Type", "")
        raise ApiError(
            415,
            f"Unsupported content type: '{given[:100]}'. This API method only accepts '{_CONTENT_TYPE}' requests; "
            f"please try again with the header 'Content-Type: {_CONTENT_TYPE}'.",
            code="unsupported_content_type",
        )
    return validation.check(validation.parse(text), schema)


def answer(model: Model) -> web.Response:
    """Send an object of the API."""
    return web.Response(body=_wire.encode(model), content_type=_CONTENT_TYPE)


def answer_run(request: web.Request, run: Run) -> web.Response:
    """Send a run, and when to ask for it again."""
    response = answer(run)
    delay = request.app[POLL_HINT].delay(run)
    if delay is not None:
        response.headers["openai-poll-after-ms"] = str(round(delay * 1000))
    return response


def refuse_stream(body: dict[str, Any]) -> None:
    """Take ``stream`` out of a body.

    Raises:
        ApiError: 400; it is ``true``.
    """
    if body.pop("stream", None):
        text = "This server does not stream. Leave 'stream' out, and ask for the run until it has ended."
        raise ApiError(400, text, param="stream", code="unsupported_value")
