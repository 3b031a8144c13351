"""One request and its answer, as the handlers see them: who asks, what was sent, what goes back."""

from typing import Any, Final

import msgspec
from aiohttp import web
from attrs import evolve

from openai_runs import _wire
from openai_runs._slices import Work, in_slices
from openai_runs.engine import ApiError, Engine
from openai_runs.models.model import Model
from openai_runs.models.page import Page
from openai_runs.models.run import Run
from openai_runs.server import validation
from openai_runs.server.poll_hint import PollHint
from openai_runs.stores.records import PAGE_BYTES, PageQuery

ENGINE: Final = web.AppKey("engine", Engine)
POLL_HINT: Final = web.AppKey("poll_hint", PollHint)

# Before aiohttp 3.14, the keys of what a request carries are strings.
_request_key: Final[Any] = getattr(web, "RequestKey", lambda name, _: name)

#: The label of whoever asks; the empty one if the server has no keys.
OWNER: Final = _request_key("owner", str)
REQUEST_ID: Final = _request_key("request_id", str)
STARTED: Final = _request_key("started", float)  #: on the clock of `time.perf_counter`

_CONTENT_TYPE: Final = "application/json"


async def read_body(request: web.Request, schema: str, *, required: bool = True) -> dict[str, Any]:
    """Read a request's JSON object and hold it against the API's document.

    Args:
        request: The request.
        schema: The body's name in the document.
        required: Whether there has to be one; if not, none is as good as ``{}``.

    Raises:
        ApiError: 400 or 415; it is not what the API takes, or did not arrive whole.
        web.HTTPRequestEntityTooLarge: It is larger than the server takes.
    """
    try:
        text = await request.read()
    except (web.RequestPayloadError, ConnectionError) as error:  # broken on the way, or its sender is gone
        raise ApiError(400, f"We could not read the body of your request: {error}") from None
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
    return await validation.read(text, schema)


def answer(model: Model) -> web.Response:
    """Send an object of the API."""
    return web.Response(body=_wire.encode(model), content_type=_CONTENT_TYPE)


async def answer_page(page: Page[Any], query: PageQuery) -> web.Response:
    """Send a page of a list: as much of it as `PAGE_BYTES` has room for, and at least one object."""
    return web.Response(body=await in_slices(_encoding(page, query)), content_type=_CONTENT_TYPE)


def _encoding(page: Page[Any], query: PageQuery) -> Work[bytes]:
    from_the_end = query.before is not None and query.after is None  # whoever pages backwards misses no object either
    encoded: list[bytes] = []
    size = 0
    for item in reversed(page.data) if from_the_end else page.data:
        text = _wire.encode(item)
        size += len(text)
        if encoded and size >= PAGE_BYTES:
            break
        encoded.append(text)
        yield
    if len(encoded) < len(page.data):
        data = page.data[-len(encoded) :] if from_the_end else page.data[: len(encoded)]
        page = evolve(page, first_id=data[0].id, last_id=data[-1].id, has_more=True)
    if not encoded:
        # The hosted API sent null here, which its document does not allow and typed clients stumbled over.
        page = evolve(page, first_id="", last_id="")
    shown = [msgspec.Raw(text) for text in (reversed(encoded) if from_the_end else encoded)]
    return _wire.encode_plain({**_wire.dump(evolve(page, data=())), "data": shown})


def answer_run(request: web.Request, run: Run) -> web.Response:
    """Send a run, and when to ask for it again."""
    response = answer(run)
    delay = request.app[POLL_HINT].delay(run, request.app[ENGINE].runs.pending)
    if delay is not None:
        response.headers["openai-poll-after-ms"] = str(round(delay * 1000))
    return response
