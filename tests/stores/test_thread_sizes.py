"""The bytes of an owner's threads and messages, counted in pieces."""

from collections.abc import Sequence

import pytest

from openai_runs.stores import thread_sizes
from openai_runs.stores.thread_sizes import From, Row, count_bytes, counted_in

pytestmark = pytest.mark.anyio


def test_a_piece_that_is_the_last():
    """All of its threads and messages count."""
    assert counted_in([(3, 10, 2, 7, 5), (8, 20, 0, 0, 0)], From()) == (37, None)
    assert counted_in([], From(9)) == (0, None)


def test_a_piece_with_more_threads(monkeypatch: pytest.MonkeyPatch):
    """The next one begins after its last thread."""
    monkeypatch.setattr(thread_sizes, "THREADS", 2)
    assert counted_in([(3, 10, 2, 7, 5), (8, 20, 0, 0, 0)], From()) == (37, From(9))


def test_a_piece_with_more_messages(monkeypatch: pytest.MonkeyPatch):
    """The next one goes on in the same thread, which does not count twice; threads behind the last message wait."""
    monkeypatch.setattr(thread_sizes, "MESSAGES", 3)
    assert counted_in([(3, 10, 2, 7, 5), (8, 20, 1, 4, 9), (11, 30, 0, 0, 0)], From()) == (41, From(8, 9))
    assert counted_in([(8, 20, 1, 4, 12), (11, 30, 0, 0, 0)], From(8, 9)) == (34, None)


async def test_pieces_add_up():
    """Pieces are read until there is none left."""
    asked = []

    async def read(start: From) -> Sequence[Row]:
        asked.append(start)
        return [(start.thread + 1, 10, 0, 0, 0)] * (thread_sizes.THREADS if len(asked) < 3 else 1)

    assert await count_bytes(read) == 10 * (2 * thread_sizes.THREADS + 1)
    assert asked == [From(), From(2), From(4)]
