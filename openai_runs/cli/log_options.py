"""The options that say what a command logs to standard error, and as what."""

import json
import logging
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, TypeAlias

import typer


class LogLevel(StrEnum):
    """From which level on the library's records are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """What a record becomes."""

    TEXT = "text"
    JSON = "json"


Level: TypeAlias = Annotated[
    LogLevel,
    typer.Option(
        "--log-level",
        help="Log this level and above, to standard error; at debug, polls and probes are in the access log, too.",
    ),
]
Format: TypeAlias = Annotated[
    LogFormat, typer.Option("--log-format", help="Lines of text, or one JSON object per line.")
]


class JsonFormatter(logging.Formatter):
    """Makes one JSON object of a record: ``time``, ``level``, ``logger``, ``message``, after an error ``exception``.

    A record of the access log, or of the server's beginning and end, has fields besides. Other libraries' records may
    carry anything, which could be a secret, so nothing else is taken from a record.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Make the line; line breaks within are escaped."""
        from openai_runs.server.access_log import FIELDS

        shown = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            shown["exception"] = self.formatException(record.exc_info)
        return json.dumps(shown)  # in ASCII: msgspec refuses the bytes of a path that is no UTF-8


def set_up_logging(level: LogLevel, format: LogFormat) -> None:
    """Log to standard error, for the whole process."""
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    handler.setFormatter(JsonFormatter() if format is LogFormat.JSON else text)
    own = logging.getLevelNamesMapping()[level.upper()]
    # What other libraries say at DEBUG is a line for every statement of SQL and every wait.
    logging.basicConfig(level=max(own, logging.INFO), handlers=[handler])
    logging.getLogger("openai_runs").setLevel(own)
    for name in ("aiosqlite", "dbos"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("stamina").setLevel(logging.ERROR)  # the callers log each retry themselves, with its reason
