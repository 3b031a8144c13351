"""`PassThrough`: requests of the rest of the API, passed on to a model's endpoint, and its answers back."""

from collections.abc import Iterator
from functools import partial
from typing import NoReturn

from aiohttp import web
from aiohttp.typedefs import Handler

from openai_runs.engine import ApiError
from openai_runs.server import passing_rules
from openai_runs.server.endpoint_connection import EndpointConnection


class PassThrough(EndpointConnection):
    """The endpoint to which a server passes requests that are not its own, such as ``/chat/completions``.

    ``LocalServer(backend=ChatCompletionsBackend(url, key), pass_through=PassThrough(url, key))``
    """


def routes(passed: PassThrough, prefix: str, *, has_owners: bool) -> Iterator[tuple[str, str, Handler]]:
    """The routes of what is passed on: method, path, handler.

    Args:
        passed: The endpoint.
        prefix: What precedes each path.
        has_owners: Whether there are several owners, who must not see each other's objects.
    """
    for paths, are_objects in (passing_rules.CALLS, False), (passing_rules.OBJECTS, True):
        for method, path in paths:
            handler: Handler = _has_no_owners if are_objects and has_owners else partial(passed.pass_on, path)
            yield method, passing_rules.pattern(prefix + path), handler


async def _has_no_owners(request: web.Request) -> NoReturn:
    raise ApiError(
        403,
        f"{request.method} {request.path[:200]} is not passed on: the model's endpoint keeps such objects without an "
        "owner, and the keys of this server have several, who must not see each other's.",
    )
