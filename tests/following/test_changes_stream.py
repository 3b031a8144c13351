"""`ChangesStream`: the events of one connection, and how it ends."""

import pytest

from openai_runs._http.sse import KEEP_ALIVE, frame
from openai_runs.errors import NotFoundError
from openai_runs.following.changes_stream import ChangesStream
from tests.stub import Reply, Stub, error, reply

pytestmark = pytest.mark.anyio


async def test_events_until_the_end() -> None:
    """Bytes are events or none, such as a keep-alive; at the end there is nothing."""
    body = KEEP_ALIVE + b"\n" + frame("thread.run.queued", b"{}")
    async with Stub(reply(body, content_type="text/event-stream")) as stub, stub.session() as session:
        changes = await ChangesStream.open(session._transport)
        found = []
        while (frames := await changes.read()) is not None:
            found += frames
        assert (found, changes.how_it_ended) == ([(b"thread.run.queued", b"{}")], "the stream ended")
        assert stub.requests[0].path == "/v1/runs/changes"
        changes.close()


async def test_a_broken_connection() -> None:
    """It ends, and says how."""
    cut: Reply = reply(frame("thread.run.queued", b"{}"), content_type="text/event-stream").cut(3)
    async with Stub(cut) as stub, stub.session() as session:
        changes = await ChangesStream.open(session._transport)
        while await changes.read() is not None:
            pass
        assert "not enough data" in changes.how_it_ended.lower()
        changes.close()


async def test_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection over which nothing comes counts as lost."""
    monkeypatch.setattr("openai_runs.following.changes_stream._SILENCE", 0.01)
    begun = reply(b"", content_type="text/event-stream", content_length="9")
    async with Stub(Reply(begun.data, "hang")) as stub, stub.session() as session:
        changes = await ChangesStream.open(session._transport)
        assert await changes.read() is None
        assert "nothing came for 0.01 s" in changes.how_it_ended
        changes.close()


async def test_another_endpoint() -> None:
    """An endpoint without it says so."""
    async with Stub(error(404)) as stub, stub.session() as session:
        with pytest.raises(NotFoundError):
            await ChangesStream.open(session._transport)
