"""A page with the objects of one owner, out of pages with those of all."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs.engine import ApiError
from openai_runs.server.own_page import own_page
from openai_runs.stores.records import PageQuery

pytestmark = pytest.mark.anyio


class Endpoint:
    """Has a list of objects, newest first."""

    def __init__(self, *ids: str) -> None:
        self.ids = ids
        self.requests: list[Mapping[str, Any]] = []

    async def read(self, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        self.requests.append(parameters)
        ids = self.ids if parameters["order"] == "desc" else self.ids[::-1]
        start = ids.index(parameters["after"]) + 1 if "after" in parameters else 0
        page = ids[start : start + parameters["limit"]]
        return {"data": [{"id": id} for id in page], "has_more": start + len(page) < len(ids)}


def ids(page: Mapping[str, Any]) -> list[str]:
    return [each["id"] for each in page["data"]]


@given(st.lists(st.booleans(), max_size=12), st.integers(1, 5), st.integers(1, 4), st.booleans())
async def test_all_pages_together(whose: list[bool], limit: int, step: int, newest_first: bool):
    """They are the owner's objects, each page but the last is full, and `has_more` is true until then."""
    endpoint = Endpoint(*(f"{number}" for number in range(len(whose))))
    own = [id for id, is_own in zip(endpoint.ids, whose, strict=True) if is_own]
    query = PageQuery(limit=limit, order="desc" if newest_first else "asc")
    found: list[str] = []
    while True:
        page = await own_page(endpoint.read, own, query, step=step)
        found += ids(page)
        if not page["has_more"]:
            break
        assert len(page["data"]) == limit
        query = PageQuery(limit=limit, order=query.order, after=page["last_id"])
    assert found == (own if newest_first else own[::-1])


async def test_nothing_to_find():
    """The endpoint is not asked; with typed clients in mind, no ID is null."""
    endpoint = Endpoint("a")
    page = await own_page(endpoint.read, (), PageQuery(), step=10)
    assert page == {"object": "list", "data": [], "first_id": "", "last_id": "", "has_more": False}
    assert not endpoint.requests


async def test_it_ends_when_all_are_found():
    endpoint = Endpoint("a", "b", "c", "d")
    assert ids(await own_page(endpoint.read, ["a"], PageQuery(), step=1)) == ["a"]
    assert len(endpoint.requests) == 1


async def test_backwards():
    """The last objects before one; with both cursors, the first ones between them."""
    endpoint = Endpoint(*"abcdefg")
    own = set("acdfg")
    page = await own_page(endpoint.read, own, PageQuery(limit=2, before="f"), step=2)
    assert (ids(page), page["has_more"]) == (["c", "d"], True)
    page = await own_page(endpoint.read, own, PageQuery(limit=3, before="f"), step=2)
    assert (ids(page), page["has_more"]) == (["a", "c", "d"], False)
    page = await own_page(endpoint.read, own, PageQuery(limit=1, after="a", before="f"), step=2)
    assert (ids(page), page["has_more"]) == (["c"], True)
    with pytest.raises(ApiError, match="'h' to start 'before'"):
        await own_page(endpoint.read, own, PageQuery(before="h"), step=2)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"data": [1]},
        {"data": [{"id": "b"}], "has_more": True},  # again and again
        {"data": [{}], "has_more": True},
    ],
)
async def test_an_answer_that_is_no_list(answer: Mapping[str, Any]):
    """It is the endpoint's fault, and ends."""

    async def read(_: object) -> Mapping[str, Any]:
        return answer

    with pytest.raises(ApiError, match="no list") as error:
        await own_page(read, ["a"], PageQuery(), step=1)
    assert error.value.status == 502


async def test_a_page_without_objects():
    """It ends the list, whatever it says."""

    async def read(_: object) -> Mapping[str, Any]:
        return {"data": [], "has_more": True}

    assert ids(await own_page(read, ["a"], PageQuery(), step=1)) == []
