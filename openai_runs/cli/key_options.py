"""Where the keys of `openai-runs serve` and their limits come from, and when they are read again."""

import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer
from attrs import field, frozen

if TYPE_CHECKING:  # a command that needs no engine is not to load one
    from openai_runs.engine.limits import Limits, SomeLimits
    from openai_runs.server import LocalServer

_logger = logging.getLogger("openai_runs.cli")

#: Asks the server to read its keys again; Windows has no such signal.
RELOADING: Final[signal.Signals | None] = getattr(signal, "SIGHUP", None)


#: The names of all limits, for help: the engine, which has them, is not to be loaded for that.
LIMITS: Final = "requests-per-minute, active-runs, tokens-per-day, stored-mb, messages-per-thread and items-per-body"


@frozen
class KeyFile:
    """The keys of a server, and what their owners may take."""

    owners: dict[str, str] | None = field(repr=False)  #: by key; ``None`` if none is required
    limits: "dict[str, Limits]"  #: of the owners that have their own


def some_limits_from(words: list[str] | None) -> "SomeLimits":
    """The limits of ``--limit``, and nothing of those that are not named.

    Raises:
        typer.BadParameter: There is no such limit, or its value is wrong.
    """
    from openai_runs.engine.limits import read_limits
    from openai_runs.server.keys import RETENTION

    try:
        return read_limits(words or ())
    except ValueError as error:
        is_retention = any(word.startswith(RETENTION) for word in words or ())
        more = f". For how long threads are kept says --{RETENTION}" if is_retention else ""
        raise typer.BadParameter(f"--limit: {error}{more}") from None


def limits_from(words: list[str] | None) -> "Limits":
    """The limits of ``--limit``.

    Raises:
        typer.BadParameter: There is no such limit, or its value is wrong.
    """
    from openai_runs.engine.limits import UNLIMITED, with_changes

    return with_changes(UNLIMITED, some_limits_from(words))


def keys_text(file: Path | None) -> str | None:
    """The text of a file of keys or, without one, of ``OPENAI_RUNS_KEYS``; ``None`` if there is neither.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no UTF-8.
    """
    return os.environ.get("OPENAI_RUNS_KEYS") if file is None else file.read_text("utf-8-sig")


def keys_from(file: Path | None, default: "Limits | None" = None) -> KeyFile:
    """Read the keys of a file or, without one, of ``OPENAI_RUNS_KEYS``.

    Args:
        file: It.
        default: The limits of all owners, which those in the file change. ``None``: there are none.

    Raises:
        typer.BadParameter: They cannot be read, or there are none.
    """
    from openai_runs.engine.limits import UNLIMITED, with_changes
    from openai_runs.server.keys import limits_in, read_lines

    try:
        if (text := keys_text(file)) is None:
            return KeyFile(None, {})
        lines = read_lines(text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"the keys cannot be read: {error}") from None
    if not lines:  # perhaps a variable whose value got lost: the server would look protected and not be
        where, instead = ("OPENAI_RUNS_KEYS", "unset it") if file is None else (f"{file}", "leave --keys-file out")
        raise typer.BadParameter(f"{where} has no key: put one into each line, or {instead} to require none")
    own = {owner: with_changes(default or UNLIMITED, changes) for owner, changes in limits_in(lines).items()}
    return KeyFile({line.key: line.owner for line in lines}, own)


def retention_from(file: Path | None) -> dict[str, float | None]:
    """Read for how many days the threads of owners are kept, from where `keys_from` reads the keys.

    Raises:
        typer.BadParameter: That cannot be read, or says something else than days.
    """
    from openai_runs.server.keys import read_retention

    try:
        return read_retention(keys_text(file) or "")
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"the keys cannot be read: {error}") from None


def reload_keys(server: "LocalServer", file: Path | None, default: "Limits | None" = None) -> None:
    """Have a server use the keys that are in its file now; if there is none that can be read, it keeps those it has."""
    if file is None:  # whoever reloads all services must not end this one
        _logger.info("SIGHUP is ignored: there is no --keys-file to read again")
        return
    try:
        read = keys_from(file, default)
        keys = read.owners or {}
        server.replace_keys(keys, owner_limits=read.limits, owner_retention=retention_from(file))
    except (typer.BadParameter, ValueError) as error:
        _logger.error("the keys stay as they were: %s", error)  # noqa: TRY400  # the traceback adds nothing
        return
    _logger.info("read the keys again; keys: %d, owners: %d", len(keys), len({*keys.values()}))
