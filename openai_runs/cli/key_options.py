"""Where the keys of `openai-runs serve` come from, and when they are read again."""

import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from openai_runs.server import LocalServer

_logger = logging.getLogger("openai_runs.cli")

#: Asks the server to read its keys again; Windows has no such signal.
RELOADING: Final[signal.Signals | None] = getattr(signal, "SIGHUP", None)


def keys_from(file: Path | None) -> dict[str, str] | None:
    """Read the keys of a file or, without one, of ``OPENAI_RUNS_KEYS``; ``None`` if that is not set either.

    Raises:
        typer.BadParameter: They cannot be read, or there are none.
    """
    from openai_runs.server.keys import read_keys

    try:
        text = os.environ.get("OPENAI_RUNS_KEYS") if file is None else file.read_text("utf-8-sig")
        if text is None:
            return None
        keys = read_keys(text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"the keys cannot be read: {error}") from None
    if not keys:  # perhaps a variable whose value got lost: the server would look protected and not be
        where, instead = ("OPENAI_RUNS_KEYS", "unset it") if file is None else (f"{file}", "leave --keys-file out")
        raise typer.BadParameter(f"{where} has no key: put one into each line, or {instead} to require none")
    return keys


def retention_from(file: Path | None) -> dict[str, float | None]:
    """Read for how many days the threads of owners are kept, from where `keys_from` reads the keys.

    Raises:
        typer.BadParameter: That cannot be read, or says something else than days.
    """
    from openai_runs.server.keys import read_retention

    try:
        text = os.environ.get("OPENAI_RUNS_KEYS", "") if file is None else file.read_text("utf-8-sig")
        return read_retention(text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"the keys cannot be read: {error}") from None


def reload_keys(server: "LocalServer", file: Path | None) -> None:
    """Have a server use the keys that are in its file now; if there is none that can be read, it keeps those it has."""
    if file is None:  # whoever reloads all services must not end this one
        _logger.info("SIGHUP is ignored: there is no --keys-file to read again")
        return
    try:
        keys = keys_from(file) or {}
        server.replace_keys(keys, owner_retention=retention_from(file))
    except (typer.BadParameter, ValueError) as error:
        _logger.error("the keys stay as they were: %s", error)  # noqa: TRY400  # the traceback adds nothing
        return
    _logger.info("read the keys again; keys: %d, owners: %d", len(keys), len({*keys.values()}))
