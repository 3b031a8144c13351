"""`own_page`: a page of an endpoint's list with the objects of one owner, as if the others were not there."""

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import aclosing
from typing import Any, Final, TypeAlias

from openai_runs.engine import ApiError
from openai_runs.stores.records import PageQuery

Json: TypeAlias = dict[str, Any]
#: Reads a page of the endpoint's list with these parameters.
Read: TypeAlias = Callable[[Mapping[str, str | int]], Awaitable[Mapping[str, Any]]]

_NO_LIST: Final = "The model's endpoint has answered with no list that can be paged through."


async def own_page(read: Read, own: Collection[str], query: PageQuery, *, step: int) -> Json:
    """Read the endpoint's pages until the caller's page is full.

    Going back from an object is going forward up to it: what ``before`` means to an endpoint is not documented.

    Args:
        read: Reads one of them.
        own: The IDs of the owner's objects.
        query: The caller's.
        step: How many objects are asked for at a time.

    Raises:
        ApiError: 400: ``before`` is not in the list. 502: the endpoint's answer is no list. Or what ``read`` raises.
    """
    from_the_end = query.before is not None and query.after is None
    found: deque[Json] = deque(maxlen=query.limit + 1 if from_the_end else None)
    left = set(own)
    is_met = False
    if left:
        async with aclosing(_items(read, query, step)) as items:
            async for item in items:
                id = item.get("id")
                if query.before is not None and id == query.before:
                    is_met = True
                    break
                if id in left:
                    left.discard(id)
                    found.append(item)
                is_full = not from_the_end and len(found) > query.limit
                if is_full or (not left and query.before is None):
                    break
    if from_the_end and not is_met:
        message = f"No object found with id '{query.before}' to start 'before'."
        raise ApiError(400, message, param="before", code="invalid_value")
    has_more = len(found) > query.limit
    data = list(found)[-query.limit :] if from_the_end else list(found)[: query.limit]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else "",  # no null: see `exchange.page_response`
        "last_id": data[-1]["id"] if data else "",
        "has_more": has_more,
    }


async def _items(read: Read, query: PageQuery, step: int) -> AsyncGenerator[Json]:
    cursor = query.after
    while True:
        page = await read({"limit": step, "order": query.order, **({} if cursor is None else {"after": cursor})})
        data = page.get("data")
        if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
            raise ApiError(502, _NO_LIST, type="server_error")
        for item in data:
            yield item
        if not page.get("has_more") or not data:
            return
        last = data[-1].get("id")
        if not isinstance(last, str) or last == cursor:  # it would go on for ever
            raise ApiError(502, _NO_LIST, type="server_error")
        cursor = last
