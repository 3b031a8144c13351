"""What handlers need of one HTTP exchange: the owner, the checked request body, the JSON response."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec
from aiohttp import web

from openai_runs import _wire
from openai_runs._evolving import evolve
from openai_runs._slices import Work, in_slices
from openai_runs._wire.idempotency import REPLAYED
from openai_runs.engine import ApiError, Engine
from openai_runs.models.model import Model
from openai_runs.models.page import Page
from openai_runs.models.run import Run
from openai_runs.server import validation
from openai_runs.server.body_items import checking_items
from openai_runs.server.plain_response import PlainResponse
from openai_runs.server.poll_hint import PollHint
from openai_runs.stores.records import PAGE_BYTES, PageQuery

ENGINE: Final = web.AppKey("engine", Engine)
POLL_HINT: Final = web.AppKey("poll_hint", PollHint)

#: The label of the request's owner; empty if the server has no keys.
OWNER: Final = web.RequestKey("owner", str)
REQUEST_ID: Final = web.RequestKey("request_id", str)
IS_REPLAYED: Final = web.RequestKey("is_replayed", bool)  #: set if the request was carried out before
IS_BEGUN: Final = web.RequestKey("is_begun", bool)  #: set once the answer to the operator has begun
IS_PASSED: Final = web.RequestKey("is_passed", bool)  #: set if the response is the model's endpoint's
IS_USUAL: Final = web.RequestKey("is_usual", bool)  #: set if a `PlainResponse` can answer it
ALLOWANCE: Final[web.RequestKey[Any]] = web.RequestKey("allowance", dict)  #: the headers that say what limits leave
IS_COUNTED: Final = web.RequestKey("is_counted", bool)  #: set if the request was counted, and let in
STARTED: Final = web.RequestKey("started", float)  #: on the clock of `time.perf_counter`

#: Changes objects, as JSON, before they are sent.
Reshape: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
#: For a client of an earlier version of the API: what makes a body of ours of its body, given the schema's name.
UPGRADE: Final = web.RequestKey[Callable[[Any, str], Any]]("upgrade")
#: For the same client: what makes its objects of ours in the events of a run.
RESHAPING: Final = web.RequestKey[Callable[[Run], Awaitable[Reshape]]]("reshaping")

_CONTENT_TYPE: Final = "application/json"
_NONE: Final[Mapping[str, str]] = {}


async def read_body(request: web.Request, schema: str, *, required: bool = True) -> dict[str, Any]:
    """Read a request's JSON object and check it against the API's document.

    Args:
        request: The request.
        schema: The name of the body's schema in the document.
        required: Whether the body may not be empty; if it may, an empty one and ``null`` count as ``{}``.

    Raises:
        ApiError: 400 or 415; the body does not fit the document, or did not arrive completely.
        web.HTTPRequestEntityTooLarge: The body is larger than the server accepts.
    """
    text = await read_json(request, required=required)
    if not required and (not text or text.strip() == b"null"):  # what typed clients send for an absent object
        return {}
    body = await validation.read(text, schema, request.get(UPGRADE))
    if (most := request.app[ENGINE].limits.of(request[OWNER]).items_per_body) is not None:
        await in_slices(checking_items(body, most))
    return body


async def read_json(request: web.Request, *, required: bool = True) -> bytes:
    """Read a request's body, which is to be JSON; it is not parsed.

    Args:
        request: The request.
        required: Whether the body may not be empty.

    Raises:
        ApiError: 400 or 415; the body did not arrive completely, or says that it is something else.
        web.HTTPRequestEntityTooLarge: The body is larger than the server accepts.
    """
    try:
        text = await request.read()
    except (web.RequestPayloadError, ConnectionError) as error:  # malformed, or the client disconnected
        raise ApiError(400, f"We could not read the body of your request: {error}") from None
    if not text and not required:
        return text
    # Cross-site request forgery: with any other content type, a web page may send JSON to a local server without the
    # browser's preflight request.
    if request.content_type != _CONTENT_TYPE:
        given = request.headers.get("Content-Type", "")
        raise ApiError(
            415,
            f"Unsupported content type: '{given[:100]}'. This API method only accepts '{_CONTENT_TYPE}' requests; "
            f"please try again with the header 'Content-Type: {_CONTENT_TYPE}'.",
            code="unsupported_content_type",
        )
    return text


def json_response(model: Model) -> web.Response:
    """Respond with an object of the API."""
    return web.Response(body=_wire.encode(model), content_type=_CONTENT_TYPE)


async def page_response(
    page: Page[Any], query: PageQuery, encode: Callable[[Any], bytes] = _wire.encode
) -> web.Response:
    """Respond with a page of a list: as many of its objects as fit into `PAGE_BYTES`, but at least one.

    Args:
        page: The page.
        query: What was asked for.
        encode: Makes the JSON text of an object: `Engine.json` where many are in the store as they are shown.
    """
    return web.Response(body=await in_slices(_encoding_page(page, query, encode)), content_type=_CONTENT_TYPE)


def _encoding_page(page: Page[Any], query: PageQuery, encode: Callable[[Any], bytes]) -> Work[bytes]:
    from_the_end = query.before is not None and query.after is None  # paging backwards must not skip objects either
    encoded: list[bytes] = []
    size = 0
    for item in reversed(page.data) if from_the_end else page.data:
        text = encode(item)
        size += len(text)
        if encoded and size >= PAGE_BYTES:
            break
        encoded.append(text)
        yield
    if len(encoded) < len(page.data):
        data = page.data[-len(encoded) :] if from_the_end else page.data[: len(encoded)]
        page = evolve(page, first_id=data[0].id, last_id=data[-1].id, has_more=True)
    if not encoded:
        # The hosted API sent null here, which its document forbids and which made typed clients fail.
        page = evolve(page, first_id="", last_id="")
    in_order = [msgspec.Raw(text) for text in (reversed(encoded) if from_the_end else encoded)]
    return _wire.encode_plain({**_wire.dump(evolve(page, data=())), "data": in_order})


def run_response(request: web.Request, run: Run) -> web.StreamResponse:
    """Respond with a run, and a hint when to poll it again."""
    engine = request.app[ENGINE]
    headers = poll_headers(run, engine, request.app[POLL_HINT])
    return text_response(request, engine.json(run), headers)


def text_response(request: web.Request, text: bytes, headers: Mapping[str, str] = _NONE) -> web.StreamResponse:
    """Respond with the JSON text of an object, and headers that not all responses have."""
    if IS_USUAL not in request:
        return web.Response(body=text, content_type=_CONTENT_TYPE, headers=headers)
    if IS_REPLAYED in request:
        headers = {**headers, REPLAYED: "true"}
    if ALLOWANCE in request:
        headers = {**headers, **request[ALLOWANCE]}
    return PlainResponse(text, request[REQUEST_ID], request[STARTED], headers)


def poll_headers(run: Run, engine: Engine, hint: PollHint) -> dict[str, str]:
    """What says when to poll a run again: nothing once it has ended."""
    if run.status.is_terminal:
        return {}
    delay = hint.delay(run, engine.runs.pending, engine.runs.active_since(run))
    return {} if delay is None else {"openai-poll-after-ms": str(round(delay * 1000))}
