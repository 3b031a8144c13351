"""`PostgresRelay`: what a server sends arrives in order and once, whatever becomes of connections; or a gap is told."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import anyio.to_thread
import psycopg
import pytest
import stamina
from hypothesis import given
from hypothesis import strategies as st

from openai_runs.errors import StoreUnavailableError
from openai_runs.stores.postgres import relay as postgres_relay
from openai_runs.stores.postgres.relay import PostgresRelay
from tests.postgres import Postgres, execute, kill_sessions, until
from tests.stores.cutting import Cutter, cutting, through

pytestmark = pytest.mark.anyio


@pytest.fixture
def url(postgres_server: Postgres) -> str:
    return postgres_server.store_url()


@pytest.fixture
async def cutter(postgres_server: Postgres, anyio_backend: str) -> AsyncIterator[Cutter]:
    async with cutting(postgres_server) as cutter:
        yield cutter


class Server:
    """A relay, and all that it tells, in order.

    Attributes:
        told: ``(sender, message)`` for a message, and the sender alone, or ``None``, for a gap.
    """

    def __init__(self, url: str) -> None:
        self.told: list[Any] = []
        self.relay = PostgresRelay(
            url, on_message=lambda sender, message: self.told.append((sender, message)), on_gap=self.told.append
        )

    async def tells(self, *told: Any) -> None:
        """Wait until it has told as much, and be strict about what."""
        await until(lambda: len(self.told) >= len(told))
        assert self.told == [*told]


@asynccontextmanager
async def serving(url: str, *epochs: int) -> AsyncIterator[list[Server]]:
    servers = [Server(url) for _ in epochs]
    try:
        for server, epoch in zip(servers, epochs, strict=True):
            await server.relay.open(epoch)
        yield servers
    finally:
        for server in servers:
            await server.relay.close()


def transactions(relay: PostgresRelay, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The payloads of each transaction that a relay makes from now on."""
    made: list[list[str]] = []
    notify = relay._notify

    async def noting() -> None:
        made.append([payload.text for payload in relay._payloads])
        await notify()

    monkeypatch.setattr(relay, "_notify", noting)
    return made


def connections(relay: PostgresRelay, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who has connected, or tried to, from now on."""
    made: list[str] = []
    connect = relay._connect

    async def noting() -> Any:
        task = asyncio.current_task()
        made.append(task.get_name() if task else "")
        return await connect()

    monkeypatch.setattr(relay, "_connect", noting)
    return made


# What arrives


async def test_order(url: str):
    """Each server gets what is for it and what is for all, in the order of sending; the sender gets nothing."""
    async with serving(url, 1, 2, 3) as [one, two, three]:
        for number in range(300):
            if number % 3 == 0:
                one.relay.broadcast(number)
            else:
                one.relay.send(1 + number % 3, number)
        await two.tells(*((1, n) for n in range(300) if n % 3 != 2))
        await three.tells(*((1, n) for n in range(300) if n % 3 != 1))
        two.relay.broadcast("an end")
        await one.tells((2, "an end"))


async def test_to_itself(url: str):
    """A server may name itself, which tells it how far what it has sent before has come."""
    async with serving(url, 1) as [one]:
        one.relay.broadcast("not for me")
        one.relay.send(1, "for me")
        await one.tells((1, "for me"))


TEXTS = ["", "☂ 日本語 🎉", "a\0b", "\ud83d", "\udc00 \ud800", "\"'\\ \n\u2028", "x" * 20_000 + "\ud800\0" * 10_000]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
async def test_any_text(text: str, url: str):
    """Characters that PostgreSQL has not, or that are no Unicode, come through."""
    async with serving(url, 1, 2) as [one, two]:
        one.relay.send(2, {text: [text, None, 1.5, True]})
        await two.tells((1, {text: [text, None, 1.5, True]}))


async def test_two_stores(postgres_server: Postgres, url: str):
    """In two schemas of one database, they do not hear each other, though their epochs are the same."""
    async with serving(url, 1, 2) as [one, two], serving(postgres_server.store_url(), 1, 2) as [other_one, other_two]:
        one.relay.broadcast("a")
        other_one.relay.send(2, "b")
        one.relay.send(2, "c")
        await two.tells((1, "a"), (1, "c"))
        other_one.relay.broadcast("d")
        await other_two.tells((1, "b"), (1, "d"))


async def test_callbacks_that_raise(url: str, caplog: pytest.LogCaptureFixture):
    """It is logged, and the next message comes."""
    heard = []

    def on_message(sender: int, message: Any) -> None:
        heard.append(message)
        raise ValueError(f"I dislike {message}")

    def on_gap(sender: int | None) -> None:
        heard.append("gap")
        raise ValueError("I dislike gaps")

    relay = PostgresRelay(url, on_message=on_message, on_gap=on_gap)
    await relay.open(2)
    execute(url, "SELECT pg_notify(%s, p) FROM unnest(%s::text[]) p", f"{relay._channel}_2", ["1 1 [1,2]", "1 3 [3]"])
    await until(lambda: heard == [1, 2, "gap", 3])
    await relay.close()
    for text in "I dislike 1", "I dislike 2", "I dislike gaps", "I dislike 3":
        assert text in caplog.text


# How it is sent


async def test_packing(url: str, monkeypatch: pytest.MonkeyPatch):
    """A thousand small messages are one transaction with few payloads, all of a size that PostgreSQL takes."""
    async with serving(url, 1, 2) as [one, two]:
        made = transactions(one.relay, monkeypatch)
        messages = [{"run": f"run_{number}", "delta": "☂" * 10} for number in range(1000)]
        for message in messages:
            one.relay.send(2, message)
        await two.tells(*((1, message) for message in messages))
        assert len(made) == 1
        assert 10 <= len(made[0]) <= 15
        assert max(map(len, made[0])) < 8000


async def test_one_transaction_a_tick(url: str, monkeypatch: pytest.MonkeyPatch):
    """The first message goes at once; what is sent while its tick lasts waits for the end, and is one transaction."""
    delays: list[float] = []
    is_over = asyncio.Event()

    async def sleep(delay: float) -> None:
        delays.append(delay)
        await is_over.wait()

    async with serving(url, 1, 2) as [one, two]:
        made = transactions(one.relay, monkeypatch)
        monkeypatch.setattr(asyncio, "sleep", sleep)
        one.relay.send(2, 0)
        await two.tells((1, 0))
        await until(lambda: bool(delays))
        for number in range(1, 20):
            one.relay.send(2, number)
            await anyio.lowlevel.checkpoint()
        assert made == [["1 1 [0]"]]
        is_over.set()
        await two.tells(*((1, number) for number in range(20)))
        assert made[1:] == [[f"1 2 [{','.join(map(str, range(1, 20)))}]"]]
        assert delays[0] <= postgres_relay._TICK


async def test_much_at_once(url: str, monkeypatch: pytest.MonkeyPatch):
    """It is several transactions, each of a limited size."""
    monkeypatch.setattr(postgres_relay, "_TICK_SIZE", 10_000)
    async with serving(url, 1, 2) as [one, two]:
        made = transactions(one.relay, monkeypatch)
        for number in range(10):
            one.relay.send(2, str(number) * 5000)
        await two.tells(*((1, str(number) * 5000) for number in range(10)))
        assert [len(payloads) for payloads in made] == [2] * 5


@pytest.mark.parametrize("size", [7_895, 7_896, 7_897, 7_898, 7_899, 15_795, 15_796, 100_000, 1_000_000])
async def test_long_messages(size: int, url: str, monkeypatch: pytest.MonkeyPatch):
    """They are split and joined, each of their parts fits, and what comes before and after them does so."""
    async with serving(url, 1, 2) as [one, two]:
        made = transactions(one.relay, monkeypatch)
        long = "0123456789" * (size // 10) + "x" * (size % 10)
        for message in "before", long, "after":
            one.relay.send(2, message)
            one.relay.broadcast(message)
        await two.tells(*((1, message) for message in ("before", "before", long, long, "after", "after")))
        assert max(len(text) for payloads in made for text in payloads) < 8000


sent = st.lists(st.tuples(st.none() | st.integers(2, 3), st.text(st.characters(codec="ascii"), max_size=60)))


@given(groups=st.lists(sent))
def test_there_and_back(groups: list[list[tuple[int | None, str]]]):
    """However messages are packed, split and grouped, each receiver gets its own ones in order, and no gap."""
    with small_payloads():
        outbox = postgres_relay._Outbox()
        inboxes = {2: postgres_relay._Inbox(), 3: postgres_relay._Inbox()}
        received: dict[int, list[str]] = {2: [], 3: []}
        for group in groups:
            for to, text in group:
                outbox.put(postgres_relay._Message(1, to, f'"{text.encode().hex()}"'))
            while outbox:
                for to, payload in outbox.pack():
                    _, number, body = payload.split(" ", 2)
                    assert len(body) <= 30
                    for receiver, inbox in inboxes.items():
                        if to in (None, receiver):
                            is_gap, messages = inbox.take((str(to), 1), int(number), body)
                            assert not is_gap
                            received[receiver] += messages
        for receiver, messages in received.items():
            wanted = [text.encode().hex() for group in groups for to, text in group if to in (None, receiver)]
            assert messages == wanted


@contextmanager
def small_payloads() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres_relay, "_MAX_BODY", 30)
        patch.setattr(postgres_relay, "_TICK_SIZE", 100)
        yield


# Gaps


def take(inbox: Any, *payloads: tuple[int, str]) -> list[Any]:
    return [inbox.take(("channel", 1), number, body) for number, body in payloads]


def test_numbers():
    """The first payload is no gap, whatever its number; what is missing is one; what comes again is not heard."""
    assert take(postgres_relay._Inbox(), (7, "[1]"), (8, "[2]"), (8, "[2]"), (7, "[1]"), (10, "[3,4]"), (9, "[0]")) == [
        (False, [1]),
        (False, [2]),
        (False, []),
        (False, []),
        (True, [3, 4]),
        (False, []),
    ]


def test_parts_that_are_missing():
    """A message of which anything is missing is not heard, and nothing of it gets into another."""
    assert take(
        postgres_relay._Inbox(), (5, "-345"), (6, "/678"), (7, "<12"), (9, "/56"), (10, "<[1"), (11, "/2]")
    ) == [
        (False, []),
        (False, []),
        (False, []),
        (True, []),
        (False, []),
        (False, [[12]]),
    ]


def test_many_senders(monkeypatch: pytest.MonkeyPatch):
    """The one that was not heard for the longest time is forgotten; that it is heard again is no gap."""
    monkeypatch.setattr(postgres_relay, "_MAX_SENDERS", 2)
    inbox = postgres_relay._Inbox()
    for sender in 1, 2, 1, 3:
        inbox.take(("channel", sender), 1 + sender, "[0]")
    assert inbox.take(("channel", 1), 9, "[0]") == (True, [0])
    assert inbox.take(("channel", 2), 9, "[0]") == (False, [0])


def kill_listener(url: str, relay: PostgresRelay) -> None:
    assert relay._listening is not None
    execute(url, "SELECT pg_terminate_backend(%s)", relay._listening.info.backend_pid)


async def test_a_killed_listener(url: str, caplog: pytest.LogCaptureFixture):
    """It is told as a gap of anybody once it listens again, before what comes then; and logged once."""
    async with serving(url, 1, 2) as [one, two]:
        one.relay.send(2, "a")
        await two.tells((1, "a"))
        kill_listener(url, two.relay)
        await two.tells((1, "a"), None)
        one.relay.send(2, "b")
        await two.tells((1, "a"), None, (1, "b"))
    assert caplog.text.count("<PostgresRelay of server 2, open> does not hear other servers: ") == 1
    assert caplog.text.count("<PostgresRelay of server 2, open> hears other servers again") == 1


async def test_what_a_killed_listener_has_missed(url: str):
    """The numbers tell it, too: of whom something is missing."""
    async with serving(url, 1, 2) as [one, two]:
        one.relay.send(2, "a")
        await two.tells((1, "a"))
        execute(url, "SELECT pg_notify(%s, '1 3 [\"c\"]')", f"{two.relay._channel}_2")
        await two.tells((1, "a"), 1, (1, "c"))


@pytest.mark.parametrize(("payload", "gap"), [("", None), ("hello", None), ("7 x [1]", 7), ("7 1 [", 7), ("7 1 ", 7)])
async def test_what_cannot_be_read(payload: str, gap: int | None, url: str, caplog: pytest.LogCaptureFixture):
    """Anybody may send anything: it counts as lost, is logged, and stops nothing."""
    async with serving(url, 1, 2) as [one, two]:
        execute(url, "SELECT pg_notify(%s, %s)", two.relay._channel, payload)
        await two.tells(gap)
        one.relay.send(2, "a")
        await two.tells(gap, (1, "a"))
    assert "cannot read what was sent to it" in caplog.text


# Outages


@pytest.mark.parametrize("lost", ["answer", "request"])
async def test_a_lost_transaction(lost: Any, url: str, cutter: Cutter, monkeypatch: pytest.MonkeyPatch):
    """Its messages arrive once, whether it was made or not."""
    monkeypatch.setattr("tests.stores.cutting._WRITE", b"pg_notify")
    async with serving(url, 2) as [two], serving(through(cutter, url), 1) as [one]:
        cutter.cut = lost
        for message in "a", "b" * 10_000, "c":
            one.relay.send(2, message)
        await two.tells((1, "a"), (1, "b" * 10_000), (1, "c"))
        assert cutter.cut is None
        one.relay.send(2, "d")
        await two.tells((1, "a"), (1, "b" * 10_000), (1, "c"), (1, "d"))


async def test_an_outage(url: str, cutter: Cutter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """What is too much is dropped, the oldest first, and the receiver is told; the rest arrives. All is logged once."""
    monkeypatch.setattr(postgres_relay, "_MAX_QUEUED", 3000)
    async with serving(url, 2) as [two], serving(through(cutter, url), 1) as [one]:
        one.relay.send(2, "a")
        await two.tells((1, "a"))
        cutter.is_away = True
        one.relay.send(2, "b")
        kill_listener(url, one.relay)
        await until(lambda: "cannot send" in caplog.text and "does not hear" in caplog.text)
        for number in range(10):
            one.relay.send(2, str(number) * 1000)
        await asyncio.sleep(0)
        cutter.is_away = False
        await two.tells((1, "a"), (1, "b"), 1, (1, "8" * 1000), (1, "9" * 1000))
        await until(lambda: "has dropped 8 messages" in caplog.text)
        await until(lambda: one.told == [None])
    assert caplog.text.count("<PostgresRelay of server 1, open> cannot send to other servers: ") == 1
    assert caplog.text.count("<PostgresRelay of server 1, open> does not hear other servers: ") == 1
    assert caplog.text.count("sends to other servers again") == caplog.text.count("hears other servers again") == 1


async def test_a_long_outage(
    url: str, cutter: Cutter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """It is waited out, however often the database is tried."""
    async with serving(url, 2) as [two], serving(through(cutter, url), 1) as [one]:
        cutter.is_away = True
        with stamina.set_testing(True, attempts=2, cap=True):
            kill_listener(url, one.relay)
            one.relay.broadcast("a")
            await until(lambda: "cannot send" in caplog.text and "does not hear" in caplog.text)
            attempts = connections(one.relay, monkeypatch)
            await until(lambda: min(Counter(attempts).values(), default=0) > 5 and len(set(attempts)) == 2)
        cutter.is_away = False
        await two.tells((1, "a"))
        await one.tells(None)
    assert caplog.text.count("cannot send") == caplog.text.count("does not hear") == 1


async def test_one_message_that_is_too_long(url: str, monkeypatch: pytest.MonkeyPatch):
    """The newest message is kept, however long it is."""
    monkeypatch.setattr(postgres_relay, "_MAX_QUEUED", 1000)
    async with serving(url, 1, 2) as [one, two]:
        for message in "a", "b" * 100_000:
            one.relay.send(2, message)
        await two.tells((1, "b" * 100_000))


async def test_a_crash_of_the_database(postgres_server: Postgres, url: str):
    """Both connections of each server are back by themselves."""
    async with serving(url, 1, 2) as [one, two]:
        one.relay.send(2, "a")
        await two.tells((1, "a"))
        await anyio.to_thread.run_sync(postgres_server.kill)
        await anyio.to_thread.run_sync(postgres_server.start)
        await until(lambda: one.told == [None] and two.told == [(1, "a"), None])
        one.relay.send(2, "b")
        await two.tells((1, "a"), None, (1, "b"))
        two.relay.broadcast("c")
        await one.tells(None, (2, "c"))


async def test_killed_again_and_again(url: str):
    """Whatever becomes of any connection: all arrives in order and at most once, and what is missing is told."""
    async with serving(url, 1, 2) as [one, two]:
        for number in range(200):
            one.relay.send(2, number)
            if number % 40 == 20:
                await anyio.to_thread.run_sync(kill_sessions, url)
        while not any(isinstance(told, tuple) and told[1] >= 200 for told in two.told):
            number += 1
            one.relay.send(2, number)
            await until(lambda: not one.relay._outbox and not one.relay._payloads)
    last, may_miss = -1, False
    for told in two.told:
        if not isinstance(told, tuple):
            may_miss = True
            continue
        assert told[1] == last + 1 or (may_miss and told[1] > last)
        last, may_miss = told[1], False


# Another epoch


async def test_another_epoch(url: str):
    """What is sent to it is heard, and no longer what is sent to the one before; receivers see a new sender."""
    async with serving(url, 1, 2) as [one, two]:
        one.relay.send(2, "a")
        await two.tells((1, "a"))
        one.relay.send(2, "b")
        await one.relay.change(5)
        await two.relay.change(6)
        one.relay.send(2, "not heard")
        one.relay.send(6, "c")
        one.relay.broadcast("d")
        await until(lambda: len(two.told) >= 3)
        assert [told for told in two.told if told != (1, "b")] == [(1, "a"), (5, "c"), (5, "d")]
        two.relay.send(5, "e")
        await one.tells((6, "e"))


def test_epochs_in_one_transaction():
    """What waits goes under the epoch of its time, before what is queued under the next, and each has its numbers."""
    outbox = postgres_relay._Outbox()
    for sender, to, text in (1, 2, "7"), (1, None, "8"), (3, None, "9"), (3, 2, "10"):
        outbox.put(postgres_relay._Message(sender, to, text))
    assert outbox.pack() == [(2, "1 1 [7]"), (None, "1 1 [8]"), (None, "3 1 [9]"), (2, "3 1 [10]")]


async def test_queued_under_an_epoch(url: str):
    """It arrives as from that one, and the server does not hear what it has sent to all under another."""
    async with serving(url, 1, 2) as [one, two]:
        one.relay.send(2, "a")
        one.relay.broadcast("b")
        await one.relay.change(3)
        one.relay.send(2, "c")
        one.relay.broadcast("d")
        one.relay.send(3, "an end")
        await two.tells((1, "a"), (1, "b"), (3, "c"), (3, "d"))
        await one.tells((3, "an end"))


async def test_another_epoch_in_an_outage(url: str, cutter: Cutter, caplog: pytest.LogCaptureFixture):
    """It is the one that is heard when the database is back."""
    async with serving(url, 2) as [two], serving(through(cutter, url), 1) as [one]:
        cutter.is_away = True
        kill_sessions(url)
        await until(lambda: "server 1, open> does not hear" in caplog.text)
        change = asyncio.create_task(one.relay.change(3))
        await asyncio.sleep(0)
        assert not change.done()
        cutter.is_away = False
        await change
        two.relay.send(3, "a")
        await until(lambda: one.told == [None, (2, "a")])


async def test_changed_at_once(url: str):
    """It may be, before anything was heard."""
    async with serving(url, 1) as [one]:
        await one.relay.change(3)
        one.relay.send(3, "a")
        await one.tells((3, "a"))


async def test_changed_twice_at_once(url: str):
    """The last one counts."""
    async with serving(url, 1, 2) as [one, two]:
        await asyncio.gather(one.relay.change(3), one.relay.change(4))
        two.relay.send(4, "a")
        await one.tells((2, "a"))


# Opening and closing


async def test_no_database(cutter: Cutter, url: str):
    """It is refused at once, and may be tried again."""
    server = Server(through(cutter, url))
    cutter.is_away = True
    with pytest.raises(StoreUnavailableError, match=r"The server's store is not available"):
        await server.relay.open(1)
    cutter.is_away = False
    await server.relay.open(2)
    server.relay.send(2, "a")
    await server.tells((2, "a"))
    await server.relay.close()


async def test_not_open(url: str):
    """Who uses it too early, too late or twice is told so; closing is always right."""
    relay = PostgresRelay(url, on_message=print, on_gap=print)
    await relay.close()
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"server \d, closed> sends nothing: open it first"):
            relay.broadcast("a")
        with pytest.raises(RuntimeError, match="open it first"):
            await relay.change(2)
        await relay.open(1)
        with pytest.raises(RuntimeError, match="server 1, open> is open already"):
            await relay.open(1)
        assert len(sessions(url)) == 2
        await relay.close()
        await relay.close()
        await until(lambda: not sessions(url))


def sessions(url: str) -> list[Any]:
    return execute(url, "SELECT query FROM pg_stat_activity WHERE application_name = 'openai-runs'")


async def test_closed_with_messages(url: str):
    """They are sent first."""
    async with serving(url, 2) as [two]:
        async with serving(url, 1) as [one]:
            for number in range(1000):
                one.relay.send(2, number)
        await two.tells(*((1, number) for number in range(1000)))


async def test_closed_in_an_outage(
    url: str, cutter: Cutter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """It does not wait for the database; that messages are lost is logged, and who waits for a new epoch goes on."""
    monkeypatch.setattr(postgres_relay, "_CLOSING", 0.05)
    async with serving(through(cutter, url), 1) as [one]:
        cutter.is_away = True
        one.relay.broadcast("a")
        await until(lambda: "cannot send" in caplog.text)
        kill_sessions(url)
        await until(lambda: "does not hear" in caplog.text)
        change = asyncio.create_task(one.relay.change(2))
        await asyncio.sleep(0)
    await change
    assert "server 2, closed> has not sent all of its messages: the database is away" in caplog.text


async def test_closed_while_the_database_is_silent(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """A statement that is not answered, nor its cancellation, is waited for no longer than messages are."""
    monkeypatch.setattr(postgres_relay, "_CLOSING", 0.05)
    async with serving(url, 1) as [one]:
        assert one.relay._sending is not None
        silent = one.relay._sending.info.backend_pid
        os.kill(silent, signal.SIGSTOP)
        try:
            one.relay.broadcast("a")
            await until(lambda: bool(one.relay._payloads))
            with anyio.fail_after(5):
                await one.relay.close()
        finally:
            os.kill(silent, signal.SIGCONT)
    assert "has not sent all of its messages" in caplog.text


async def test_cancelled_while_opening(url: str, monkeypatch: pytest.MonkeyPatch):
    """No connection is left."""
    relay = PostgresRelay(url, on_message=print, on_gap=print)
    for statement in postgres_relay.schema.SET_UP, postgres_relay._SET_UP:
        scope = anyio.CancelScope()
        cancelling(scope, statement, monkeypatch)
        with scope:
            await relay.open(1)
        assert scope.cancelled_caught
        monkeypatch.undo()
    await until(lambda: not sessions(url))


def cancelling(scope: anyio.CancelScope, statement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a scope cancelled when a statement is about to be executed."""
    real = psycopg.AsyncConnection.execute

    async def patched(connection: Any, query: Any, *arguments: Any) -> Any:
        if query == statement:
            scope.cancel()
        return await real(connection, query, *arguments)

    monkeypatch.setattr(psycopg.AsyncConnection, "execute", patched)
