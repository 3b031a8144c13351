"""`Opening`: looks whether a database can be used, and creates the tables that are missing.

Whoever opens a store waits for an answer. What will not pass, such as a wrong password or a misspelt name, is an error
at once, and a server that does not answer is given up soon; a database that goes away later is waited for.
"""

import logging
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

import stamina
from attrs import define, field
from dbos import DBOS
from sqlalchemy.exc import DBAPIError

from openai_runs._postgres import REACHED_WITHIN, first_line, is_refused
from openai_runs.batch.durable.database import Database, is_passing
from openai_runs.batch.durable.tables import create_tables, find_version
from openai_runs.errors import StoreUnavailableError

_logger = logging.getLogger("openai_runs.batch")


@define
class Opening:
    """One attempt to open a database."""

    _database: Database
    _has_warned: bool = field(default=False, init=False)

    def prepare(self, *, create: bool = True) -> None:
        """Make sure that all tables are there: DBOS's and ours. Several processes may do so at once.

        Args:
            create: Whether an SQLite file and tables that are missing are created. A PostgreSQL database never is.

        Raises:
            ValueError: It cannot be used: the server refuses the user, say, or has no such database; its tables are of
                another version; or they are missing and are not to be created.
            StoreUnavailableError: It could not be reached for `REACHED_WITHIN` seconds.
        """
        # Connecting would create the file.
        if not create and self._database.is_sqlite and not Path(self._database.engine.url.database or "").exists():
            raise self._unusable("there is no such file. Check its path; it is created with the first batch")
        if create and self._database.is_sqlite and (path := self._database.engine.url.database):
            with suppress(OSError):  # it is there, or connecting says why it cannot be
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # texts are for nobody else
        soon = stamina.RetryingCaller(attempts=None, timeout=REACHED_WITHIN, wait_initial=0.05, wait_max=2.0)
        opening = soon.on(self._may_answer)
        try:
            if opening(self._find_version) is None and not create:
                raise self._unusable(
                    "it has no tables of batches. Check its name; they are created with the first batch"
                )
            opening(DBOS.migrate, self._database.url)  # this would create a database; ours is there, as we have seen
            opening(self._create_tables)
        except DBAPIError as error:
            reason = _reason(error)
            if is_passing(error) and not is_refusal(error):
                raise StoreUnavailableError(
                    f"{self._database.engine.url!r} has not answered for {REACHED_WITHIN:.0f} seconds: {reason}. "
                    "Is it running, and is this its URL?"
                ) from error
            what = "the path" if self._database.is_sqlite else "the URL; the database in it has to exist"
            raise self._unusable(f"{reason}. Check {what}") from error

    def _find_version(self) -> int | None:
        with self._database.engine.connect() as connection:
            try:
                return find_version(connection)
            except ValueError as error:
                raise self._unusable(str(error)) from None

    def _create_tables(self) -> None:
        with self._database.engine.begin() as connection:
            self._database.lock(connection, "tables")  # two processes that create a table at once would fail
            create_tables(connection)

    def _may_answer(self, error: Exception) -> bool:
        """Whether to try again after an error."""
        if not is_passing(error) or is_refusal(error) or self._database.is_closed:
            return False
        if not self._has_warned:
            self._has_warned = True
            _logger.warning("waiting for %r: %s", self._database.engine.url, _reason(error))
        return True

    def _unusable(self, why: str) -> ValueError:
        return ValueError(f"{self._database.engine.url!r} cannot be used as a store: {why}")


def is_refusal(error: Exception) -> bool:
    """Whether what looks as if it may pass will not, while a database is being opened."""
    cause = getattr(error, "orig", None)
    if isinstance(cause, sqlite3.Error):
        return "locked" not in str(cause)
    return is_refused(cause)


def _reason(error: Exception) -> str:
    return first_line(getattr(error, "orig", error))
