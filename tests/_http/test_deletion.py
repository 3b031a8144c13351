"""Deletions are repeated by us, who look up the result first, and never by aiohttp."""

import pytest

from openai_runs.errors import TransportError
from tests.samples import EXAMPLES
from tests.stub import CUT, RESET, Reply, Stub, error, reply

pytestmark = pytest.mark.anyio

THREAD = reply((EXAMPLES / "objects/ThreadObject.json").read_bytes())
GONE = error(404, "No thread found with id 'thread_1'.")
DELETED = reply({"id": "thread_1", "object": "thread.deleted", "deleted": True})


@pytest.mark.parametrize("lost", [CUT, RESET])
@pytest.mark.parametrize("used_before", [False, True])
async def test_done_and_cut(lost: Reply, used_before: bool) -> None:
    """aiohttp would repeat a DELETE if a reused connection breaks, and get a 404."""
    async with Stub(*[THREAD] * used_before, lost, GONE) as stub, stub.session() as session:
        if used_before:
            await session.threads.retrieve("thread_1")
        assert (await session.threads.delete("thread_1")).deleted
    assert [request.method for request in stub.requests[-2:]] == ["DELETE", "GET"]


async def test_not_done() -> None:
    """An object that still exists is deleted by the retry."""
    async with Stub(CUT, THREAD, DELETED) as stub, stub.session() as session:
        assert (await session.threads.delete("thread_1")).deleted
    assert [request.method for request in stub.requests] == ["DELETE", "GET", "DELETE"]


async def test_nobody_there() -> None:
    """A refused connection has deleted nothing, and the error says so."""
    async with Stub() as stub:
        pass
    async with stub.session(max_retries=1) as session:
        with pytest.raises(TransportError) as caught:
            await session.threads.delete("thread_1")
    assert not caught.value.maybe_done
