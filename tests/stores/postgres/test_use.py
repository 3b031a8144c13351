"""`SharedUse`: each server knows what owners use at the others, a moment later, and counts nothing twice."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest

from openai_runs.stores.postgres import SharedPostgresStore
from openai_runs.stores.postgres.use import SharedUse
from tests.postgres import Postgres, execute

pytestmark = pytest.mark.anyio

MINUTE = 60.0


class Heard:
    """Adds up what it hears."""

    def __init__(self) -> None:
        self.use: dict[tuple[str, str, float], int] = {}

    def used_elsewhere(self, what: str, owner: str, since: float, number: int) -> None:
        self.use[what, owner, since] = self.use.get((what, owner, since), 0) + number


@pytest.fixture
def url(postgres_server: Postgres) -> str:
    return postgres_server.store_url()


@pytest.fixture
async def pair(url: str, tmp_path: Path, anyio_backend: str) -> AsyncIterator[list[SharedPostgresStore]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(SharedPostgresStore(url, folder=tmp_path)) for _ in range(2)]


async def until(condition: Any, *stores: SharedPostgresStore) -> None:
    """Wait for something that is told with the leases, which are renewed all the time meanwhile."""
    with anyio.fail_after(20):
        while not condition():
            for store in stores:
                store._lease.check_now()
            await anyio.sleep(0.01)


async def test_what_one_counts_the_other_hears(pair: list[SharedPostgresStore], url: str, tmp_path: Path):
    """All of it, and once; whoever starts later reads it."""
    a, b = pair
    heard = Heard()
    b.hear_use(heard)
    a.add_use("requests", "me", 120.0, MINUTE, 3)
    a.add_use("files", "me", 0.0, MINUTE, -5)
    await until(lambda: heard.use == {("requests", "me", 120.0): 3, ("files", "me", 0.0): -5}, a, b)
    a.add_use("requests", "me", 120.0, MINUTE, 2)
    a.add_use("requests", "me", 180.0, MINUTE, 1)
    await until(lambda: b.use_elsewhere("requests", "me") == {120.0: 5, 180.0: 1}, a, b)
    assert heard.use == {("requests", "me", 120.0): 5, ("requests", "me", 180.0): 1, ("files", "me", 0.0): -5}
    assert a.use_elsewhere("requests", "me") == {}
    assert b.use_elsewhere("requests", "you") == {}
    b.add_use("requests", "me", 180.0, MINUTE, 10)
    await until(lambda: a.use_elsewhere("requests", "me") == {180.0: 10}, a, b)
    async with SharedPostgresStore(url, folder=tmp_path) as late:
        assert late.use_elsewhere("requests", "me") == {120.0: 5, 180.0: 11}


async def test_nothing_is_written_while_nothing_is_used(pair: list[SharedPostgresStore], url: str):
    """A renewal writes the rows of what has changed, and no others."""
    a, b = pair
    a.add_use("requests", "me", 0.0, MINUTE, 1)
    await until(lambda: b.use_elsewhere("requests", "me"), a, b)
    before = execute(url, "SELECT xmin::text FROM openai_runs_use")
    a.add_use("requests", "you", 0.0, MINUTE, 1)
    await until(lambda: b.use_elsewhere("requests", "you"), a, b)
    assert execute(url, "SELECT xmin::text FROM openai_runs_use WHERE owner = 'me'") == before


@pytest.mark.parametrize("is_made", [True, False])
async def test_news_whose_answer_is_lost(
    pair: list[SharedPostgresStore], is_made: bool, monkeypatch: pytest.MonkeyPatch
):
    """They are told again, and count once, whether they had arrived or not."""
    a, b = pair
    heard, lost = Heard(), 0
    b.hear_use(heard)
    execute_all = a._lease._renewals.execute

    async def lose(sql: str, parameters: Any) -> list[Any]:
        nonlocal lost
        if is_made:
            await execute_all(sql, parameters)
        lost += 1
        raise psycopg.OperationalError("lost")

    with monkeypatch.context() as patch:
        patch.setattr(a._lease._renewals, "execute", lose)
        a.add_use("requests", "me", 0.0, MINUTE, 3)
        await until(lambda: lost, a)
    a.add_use("requests", "me", 0.0, MINUTE, 4)
    await until(lambda: heard.use.get(("requests", "me", 0.0)) == 7, a, b)


async def test_a_server_that_gets_another_number(pair: list[SharedPostgresStore], url: str):
    """What it has told before goes on counting, once."""
    a, b = pair
    a.add_use("requests", "me", 0.0, MINUTE, 3)
    await until(lambda: b.use_elsewhere("requests", "me") == {0.0: 3}, a, b)
    epoch = a.epoch
    execute(url, "UPDATE openai_runs_servers SET is_over = true WHERE epoch = %s", epoch)
    await until(lambda: a.is_valid and a.epoch != epoch, a)
    a.add_use("requests", "me", 0.0, MINUTE, 4)
    await until(lambda: b.use_elsewhere("requests", "me") == {0.0: 7}, a, b)


async def test_a_server_that_leaves(url: str, tmp_path: Path):
    """It tells the rest before."""
    async with SharedPostgresStore(url, folder=tmp_path) as stays:
        async with SharedPostgresStore(url, folder=tmp_path) as leaves:
            leaves.add_use("requests", "me", 0.0, MINUTE, 3)
        await until(lambda: stays.use_elsewhere("requests", "me") == {0.0: 3}, stays)


async def test_an_owner_that_the_database_cannot_have(pair: list[SharedPostgresStore]):
    """It costs no server its lease."""
    a, b = pair
    a.add_use("requests", "\0", 0.0, MINUTE, 3)
    a.add_use("requests", "me", 0.0, MINUTE, 3)
    await until(lambda: b.use_elsewhere("requests", "me"), a, b)
    assert a.is_valid


async def test_rows_that_are_old(url: str, tmp_path: Path):
    """They are deleted by the server that wrote them, and of servers that are gone by the next one that starts."""
    async with SharedPostgresStore(url, folder=tmp_path) as a:
        async with SharedPostgresStore(url, folder=tmp_path) as b:
            for store in a, b:
                store.add_use("requests", "me", 0.0, MINUTE, 3)
            await until(lambda: a.use_elsewhere("requests", "me") and b.use_elsewhere("requests", "me"), a, b)
        execute(url, "UPDATE openai_runs_use SET noted_at = now() - interval '170 s'")
        servers = "SELECT count(*) FROM openai_runs_use"
        a.add_use("requests", "me", 180.0, MINUTE, 1)
        await until(lambda: execute(url, servers) == [(3,)], a)
        execute(url, "UPDATE openai_runs_use SET noted_at = now() - interval '190 s'")
        await until(lambda: execute(url, servers) == [(1,)], a)
        async with SharedPostgresStore(url, folder=tmp_path) as late:
            assert late.use_elsewhere("requests", "me") == {}
            assert execute(url, servers) == [(0,)]


# By value


def test_what_is_remembered():
    """Of what was told, the latest window; of others, those that may yet count. What is told too late does not."""
    use = SharedUse(9.0, now=lambda: 5.0)
    use.open(1, [(2, "requests", "me", 0.0, MINUTE, 7)], 2.0)
    for since in 0.0, 60.0:
        use.add("requests", "me", since, MINUTE, 1)
    told, parameters = use.telling()
    assert (parameters["server"], parameters["seconds"]) == (1, 12.0)
    assert sorted(parameters["sinces"]) == [0.0, 60.0]
    use.add("requests", "me", 60.0, MINUTE, 1)
    use.note_answer(told, [(None, None, None, None, None, None)], 4.0)
    assert [(key.since, number) for key, number in use._own.items()] == [(60.0, 2)]
    told, parameters = use.telling()
    assert (parameters["numbers"], parameters["seconds"]) == ([2], 10.0)
    rows = [(2, "requests", "me", since, MINUTE, 1) for since in (240.0, 0.0, 60.0)]
    use.note_answer(told, rows, 5.0)
    assert use.elsewhere("requests", "me") == {60.0: 1, 240.0: 1}
    assert use.telling()[0] == {}
