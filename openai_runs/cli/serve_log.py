"""What `openai-runs serve` logs of its own beginning and end, for operators: lines with fields for programs."""

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from openai_runs.server import LocalServer

_logger: Final = logging.getLogger("openai_runs.cli")


def log_listening(url: str, store: str, backend: str, keys: dict[str, str] | None, number: int | None) -> None:
    """The server takes requests from now on.

    Args:
        url: Its address.
        store: Its name, without a password.
        backend: The kind of model.
        keys: The owner of each key; ``None`` if none is required.
        number: By which other servers of the store name it, in their logs; ``None`` if there are no others.
    """
    owners = len({*(keys or {}).values()})
    required = "none is required" if keys is None else f"{len(keys)}, of {owners} owners"
    _log(
        f"listening at {url}; store: {store}; backend: {backend}; keys: {required}"
        + (f"; server {number} of this store" if number is not None else ""),
        event="listening",
        address=url,
        store=store,
        backend=backend,
        keys=None if keys is None else len(keys),
        owners=owners,
        server=number,
    )


def log_draining(server: "LocalServer", seconds: float) -> None:
    """``/readyz`` says 503, and all else goes on."""
    executing, queued = server.engine.load
    text = f"draining for {seconds:g} s; runs that execute: {executing}, queued: {queued}"
    _log(text, event="draining", seconds=seconds, executing=executing, queued=queued)


def log_stopping(server: "LocalServer", *, is_replica: bool) -> None:
    """Nothing is begun any more, and what is in progress is left."""
    executing, queued = server.engine.load
    where = "go on at other servers" if is_replica else "resume at the next start"
    _log(
        f"stopping; runs that execute: {executing}, queued: {queued}; they {where}",
        event="stopping",
        executing=executing,
        queued=queued,
        handed_over=is_replica,
    )


def log_stopped(seconds: float) -> None:
    """All is closed.

    Args:
        seconds: How long that took.
    """
    _log(f"stopped after {seconds:.1f} s", event="stopped", seconds=round(seconds, 3))


def _log(text: str, **fields: object) -> None:
    from openai_runs.server.access_log import FIELDS  # only here: the other commands need no server

    _logger.info("%s", text, extra={FIELDS: fields})
