"""The check of `--out`, for commands that write a file of results."""

from pathlib import Path
from typing import Final

import typer

#: Names of files that people open in a spreadsheet.
_TABLES: Final = frozenset({".csv", ".tsv", ".xls", ".xlsx", ".ods"})


def check_out(out: Path) -> None:
    """Refuse a file that would not be what its name says, and one in a folder that is not there.

    Raises:
        typer.BadParameter: What to write instead.
    """
    if out.suffix.lower() in _TABLES:
        instead = out.with_suffix(".jsonl")
        raise typer.BadParameter(
            f"--out: results are JSON lines, and {out} is the name of a table: write --out {instead}. Afterwards, "
            f"pandas.read_json({instead.name!r}, lines=True, dtype=False).to_csv({out.name!r}) makes a table of it"
        )
    if not out.parent.is_dir():
        raise typer.BadParameter(f"--out: there is no folder {out.parent} for {out.name}")
