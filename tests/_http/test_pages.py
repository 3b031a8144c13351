"""Paged lists, in all the ways in which endpoints send them."""

from collections.abc import Callable
from typing import Any

import pytest

from openai_runs.errors import ProtocolError
from openai_runs.session import Session
from tests.stub import Reply, Request, Stub, error, reply

pytestmark = pytest.mark.anyio


def page(*ids: str, **fields: Any) -> Reply:
    items = [{"id": id, "object": "assistant", "created_at": 1, "model": "m"} for id in ids]
    return reply({"object": "list", "data": items, **fields})


async def ids(session: Session, **query: Any) -> list[str]:
    return [found.id async for found in session.assistants.list(**query)]


async def test_pages_follow_the_last_item() -> None:
    """The next page starts after the last item, not after `last_id`, which some endpoints get wrong."""
    pages = page("a", "b", last_id="nonsense", has_more=True), page("c", first_id=None, last_id=None, has_more=False)
    async with Stub(*pages) as stub, stub.session() as session:
        assert await ids(session, limit=2, order="asc", before="z") == ["a", "b", "c"]
    assert [request.query for request in stub.requests] == [
        "limit=2&order=asc&before=z",
        "limit=2&order=asc&before=z&after=b",
    ]


async def test_where_it_ends() -> None:
    """A list ends at `has_more: false`, or, if that is not sent, at an empty page."""
    async with Stub(page("a"), page("b"), page()) as stub, stub.session() as session:
        assert await ids(session) == ["a", "b"]
        assert len(stub.requests) == 3
    async with Stub(page(has_more=True)) as stub, stub.session() as session:
        assert await ids(session) == []


async def test_all_in_one_word() -> None:
    """`to_list` fetches every page, anew each time."""
    pages = page("a", "b", has_more=True), page("c", has_more=False), page(has_more=False)
    async with Stub(*pages) as stub, stub.session() as session:
        listing = session.assistants.list()
        assert [found.id for found in await listing.to_list()] == ["a", "b", "c"]
        assert await listing.to_list() == []


@pytest.mark.parametrize("ignorant", [lambda _: page("a", "b", has_more=True), lambda _: page("b", has_more=True)])
async def test_an_endpoint_that_ignores_after(ignorant: Callable[[Request], Reply]) -> None:
    """A server that repeats a page raises ProtocolError, and no item is yielded twice."""
    seen: list[str] = []

    async def iterate() -> None:
        async for found in session.assistants.list():
            seen.append(found.id)  # noqa: PERF401  # an error comes in the middle

    async with Stub(ignorant) as stub, stub.session() as session:
        with pytest.raises(ProtocolError, match="the page after 'b' ends with it again: the server ignores `after`"):
            await iterate()
    assert len(seen) == len(set(seen))
    assert len(stub.requests) == 2


async def test_pages_in_a_circle() -> None:
    """A server that goes from page to page and back raises ProtocolError, however long the circle is."""
    circle = ["a", "b", "c", "b"]

    def answer(_: Request) -> Reply:
        circle.append(circle[-2])
        return page(circle.pop(0), has_more=True)

    async with Stub(answer) as stub, stub.session() as session:
        with pytest.raises(ProtocolError, match=r"the page after 'c' ends with 'b', as an earlier page did"):
            await ids(session)
    assert len(stub.requests) == 4


async def test_lazy_and_anew() -> None:
    """Pages are fetched on demand, and again by each iteration; `page()` fetches one page only."""
    async with Stub(page("a", has_more=True), page("a"), page("a", has_more=True)) as stub, stub.session() as session:
        listing = session.assistants.list()
        assert stub.requests == []
        async for found in listing:
            assert found.id == "a"
            break
        assert len(stub.requests) == 1
        assert [found.id for found in (await listing.page()).data] == ["a"]
        async for _ in listing:
            break
        assert [request.query for request in stub.requests] == ["", "", ""]


async def test_an_outage_in_the_middle() -> None:
    """A page whose request fails is fetched again; no item is yielded twice."""
    replies = page("a", has_more=True), error(503), page("b", has_more=False)
    async with Stub(*replies) as stub, stub.session() as session:
        assert await ids(session) == ["a", "b"]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({"limit": 0}, "limit must be 1 to 100: got 0"),
        ({"order": "newest"}, "order must be 'asc' or 'desc': got 'newest'"),
        ({"offset": 3}, "unknown parameter 'offset'"),
    ],
)
async def test_refused_at_once(query: dict[str, Any], text: str) -> None:
    """A wrong query is refused by the call, not by the iteration."""
    async with Stub() as stub, stub.session() as session:
        with pytest.raises((TypeError, ValueError), match=text):
            session.assistants.list(**query)
    assert stub.requests == []
