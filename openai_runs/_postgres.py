"""PostgreSQL, as durable batches and the server's store reach it."""

import os
import re
from typing import Final

#: Arguments of each connection: how long it may be silent. Without them, a dead network is noticed after many minutes.
CONNECT_ARGS: Final = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
}

#: Seconds for which a database may give no answer to whoever opens it. One that goes away later is waited for.
REACHED_WITHIN: Final = 30.0

#: The folder, in the current one, with the files of a server whose store is in PostgreSQL, unless another is named.
DEFAULT_FOLDER: Final = "openai-runs"

#: How PostgreSQL, or a pooler before it, refuses a connection for good.
_REFUSED: Final = re.compile(
    "authentication failed|certificate|permission denied|not permitted|no pg_hba.conf entry"
    '|(database|role) ".*" does not exist|no such (database|user)|(user|tenant).* not found',
    re.IGNORECASE,
)


def is_postgres(store: str | os.PathLike[str]) -> bool:
    """Whether a text is the URL of a PostgreSQL database, and not the path of a file."""
    return os.fspath(store).startswith(("postgresql://", "postgres://"))


def is_refused(error: object) -> bool:
    """Whether an error of psycopg, raised while connecting, will not pass: a wrong password, say, or a misspelt name.

    libpq gives no code of a connection that was refused, only the server's text, which may be in any language. What is
    not recognized counts as passing, and is given up a little later.
    """
    needs_password = getattr(getattr(error, "pgconn", None), "needs_password", False)
    return bool(needs_password or _REFUSED.search(str(error)))


def first_line(error: object) -> str:
    """What the database has said, without the questions that libpq adds."""
    return str(error).partition("\n")[0]
