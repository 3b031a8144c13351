"""``Idempotency-Key``: a request that is repeated with its key is carried out once."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from openai_runs._wire.idempotency import HEADER, MAX_LENGTH, from_header
from openai_runs.engine import ApiError
from openai_runs.engine.idempotency import CreatedT, IdempotencyKey
from openai_runs.server.exchange import ENGINE, IS_REPLAYED, OWNER


async def once(
    request: web.Request,
    create: Callable[..., Awaitable[CreatedT]],
    *arguments: Any,
    content: bytes | None = None,
) -> CreatedT:
    """Carry out a request that creates something, unless its idempotency key says that this was done before.

    Then the request has `IS_REPLAYED`.

    Args:
        request: The request. Its body has been read, and is valid.
        create: The engine's operation; it takes a ``key``.
        *arguments: Its other arguments.
        content: What stands for the body where that was not kept, such as a hash of it.

    Returns:
        What was created, just now or by the first request with this key.

    Raises:
        ApiError: 400: the key is invalid. Or what `Idempotency.once` raises.
    """
    if (key := await key_of(request, content)) is None:
        return await create(*arguments)

    async def create_with_key(key: IdempotencyKey) -> CreatedT:
        return await create(*arguments, key=key)

    created, is_new = await request.app[ENGINE].idempotency.once(key, create_with_key)
    if not is_new:
        request[IS_REPLAYED] = True
    return created


async def key_of(request: web.Request, content: bytes | None = None) -> IdempotencyKey | None:
    """The idempotency key of a request, if it has one.

    Args:
        request: The request.
        content: What stands for the body where that was not kept, such as a hash of it.

    Raises:
        ApiError: 400: the key is invalid.
    """
    values = request.headers.getall(HEADER, ())
    if not values:
        return None
    key = from_header(values[0]) if len(values) == 1 else None
    if key is None:
        text = f"Invalid header '{HEADER}': expected one key of 1 to {MAX_LENGTH} printable ASCII characters."
        raise ApiError(400, text, param=HEADER, code="invalid_value")
    # Each route exists with and without the prefix.
    operation = f"{request.method} {request.path.removeprefix('/v1')}"
    body = await request.read() if content is None else content
    return await IdempotencyKey.of(key, request[OWNER], operation, body)
