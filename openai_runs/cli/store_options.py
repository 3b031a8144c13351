"""The options of commands that use the store of a stopped server."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

StoreFile: TypeAlias = Annotated[Path, typer.Option(help="The SQLite file of a stopped server.", dir_okay=False)]
Owner: TypeAlias = Annotated[
    str, typer.Option(help="The owner of the objects: the label of its key; empty if the server has no keys.")
]


def check_folder(store: Path) -> None:
    """Refuse a file whose folder does not exist: it may be a typing error, so the folder is not created."""
    if not store.parent.is_dir():
        raise typer.BadParameter(f"--store: there is no folder {store.parent}; create it first, or name another file")


def check_exists(store: Path) -> None:
    """Refuse a file that does not exist, since opening the store would create it."""
    if not store.exists():
        raise typer.BadParameter(f"there is no store {store}; pass the server's file as --store")
