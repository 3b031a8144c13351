"""The options of commands that work on the store of a server that is not running."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

StoreFile: TypeAlias = Annotated[
    Path, typer.Option(help="The SQLite file of a server that is not running.", dir_okay=False)
]
Owner: TypeAlias = Annotated[
    str, typer.Option(help="The label of the key whose objects these are; empty if there are no keys.")
]


def check_exists(store: Path) -> None:
    """Refuse a file that is not there, which opening would make."""
    if not store.exists():
        raise typer.BadParameter(f"there is no store {store}")
