"""The audit log that an option names."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from openai_runs.server.audit_log import AuditLog


def make_audit_log(file: str) -> "AuditLog":
    """Begin to write an audit log.

    Args:
        file: The file's name, or ``-`` for standard output.

    Raises:
        typer.BadParameter: It cannot be written.
    """
    from openai_runs.server.audit_log import AuditLog

    try:
        return AuditLog(None if file == "-" else file)
    except OSError as error:
        raise typer.BadParameter(f"--audit-log: {error}") from None
