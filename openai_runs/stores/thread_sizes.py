# ruff: noqa: S608  # only constants of the package are put into SQL
"""How many bytes an owner's threads and messages have: counted a few threads, and a few messages, at a time.

There is no index of all that an owner has. So the way is the one that exists: from the owner to its threads, and from
each of them to its messages. Each piece takes a few milliseconds, and between two pieces others are served.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

#: Threads and messages of one piece.
THREADS: Final = 200
MESSAGES: Final = 1000


class From(NamedTuple):
    """Where a piece begins: after a message of a thread, by their places; after none, the thread itself is counted."""

    thread: int = 0
    after: int = 0


#: Of a thread: its place, its bytes, how many of its messages are in the piece, their bytes, and the last one's place.
Row: TypeAlias = tuple[int, int, int, int, int]
#: Reads the rows of a piece, at most `THREADS`, in order.
ReadPiece: TypeAlias = Callable[[From], Awaitable[Sequence[Row]]]


async def count_bytes(read: ReadPiece) -> int:
    """Count the bytes of all pieces."""
    total, start = 0, From()
    while True:
        rows = await read(start)
        counted, following = counted_in(rows, start)
        total += counted
        if following is None:
            return total
        start = following


def counted_in(rows: Sequence[Row], start: From) -> tuple[int, From | None]:
    """The bytes of a piece, and where the next one begins; ``None`` if there is none."""
    following = From(rows[-1][0] + 1) if len(rows) == THREADS else None
    if sum(row[2] for row in rows) == MESSAGES:  # perhaps not all: threads after the last message are yet to be counted
        last = max(number for number, row in enumerate(rows) if row[2])
        rows = rows[: last + 1]
        following = From(rows[-1][0], rows[-1][4])
    return sum(
        of_messages + (0 if place == start.thread and start.after else of_thread)
        for place, of_thread, _, of_messages, _ in rows
    ), following


def _pieces(table: str, size: str, parameter: str) -> str:
    """Sizes without the bodies: a database knows how long a text is without reading it."""
    owner, thread, after = (parameter.format(name) for name in ("owner", "thread", "after"))
    return f"""
        WITH threads AS MATERIALIZED (
            SELECT id, place, {size.format("body")} AS size FROM {table}
            WHERE kind = 'thread' AND list = {owner} AND place >= {thread} ORDER BY place LIMIT {THREADS}
        ),
        messages AS MATERIALIZED (
            SELECT threads.place AS thread, message.place AS place, {size.format("message.body")} AS size
            FROM threads CROSS JOIN {table} AS message
            WHERE message.kind = 'message' AND message.list = threads.id
                AND message.place > CASE WHEN threads.place > {thread} THEN 0 ELSE {after} END
            ORDER BY threads.place, message.place LIMIT {MESSAGES}
        )
        SELECT threads.place, threads.size, count(messages.place), coalesce(sum(messages.size), 0),
            coalesce(max(messages.place), 0)
        FROM threads LEFT JOIN messages ON messages.thread = threads.place
        GROUP BY threads.place, threads.size ORDER BY threads.place
    """


#: Older releases of SQLite read a text for its number of bytes.
_SQLITE_SIZE: Final = "octet_length({})" if sqlite3.sqlite_version_info >= (3, 43) else "length(CAST({} AS BLOB))"
SQLITE: Final = _pieces("objects", _SQLITE_SIZE, ":{}")
POSTGRES: Final = _pieces("openai_runs_objects", "octet_length({})", "%({})s")
