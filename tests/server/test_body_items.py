"""The items of all arrays in a body."""

import pytest
from aiohttp import ClientSession

from openai_runs._slices import at_once
from openai_runs.engine import ApiError
from openai_runs.server import Limits, LocalServer
from openai_runs.server.body_items import checking_items
from tests.server.api import Api

pytestmark = pytest.mark.anyio

TEXT = {"type": "text", "text": "Hi"}
BODY = {
    "thread": {"messages": [{"role": "user", "content": [TEXT, TEXT]}, {"role": "user", "content": "Hi"}]},
    "x": [1],
}


def test_items_are_counted_together():
    """The parameter is the array with which there are too many, in the order of the body."""
    at_once(checking_items(BODY, 5))
    for most, param in {4: "x", 3: "thread.messages[0].content", 1: "thread.messages"}.items():
        with pytest.raises(ApiError) as caught:
            at_once(checking_items(BODY, most))
        error = caught.value
        assert (error.status, error.param, error.code) == (400, param, "array_above_max_length")
        assert error.message == (
            f"Invalid '{param}': too many items. Expected at most {most} items in all arrays together, "
            "but got 5 instead."
        )


def test_others_are_served_meanwhile():
    """A large body is counted with breaks."""
    body = {"messages": [{"content": []}] * 3000}
    assert len(list(checking_items(body, 3000))) == 6


async def test_an_owner_with_such_a_limit():
    """Its request is refused, and that of others is not."""
    keys, limits = {"sk-alice": "alice", "sk-bob": "bob"}, {"alice": Limits(items_per_body=2)}
    async with LocalServer(keys=keys, owner_limits=limits) as server, ClientSession() as http:
        api = Api(http, server.url)
        for key, number, status in (("sk-alice", 2, 200), ("sk-alice", 3, 400), ("sk-bob", 3, 200)):
            body = {"messages": [{"role": "user", "content": "Hi"}] * number}
            answer = await api.send("POST", "/threads", body, headers={"Authorization": f"Bearer {key}"})
            assert answer.status == status
            assert status == 200 or answer.error["param"] == "messages"
