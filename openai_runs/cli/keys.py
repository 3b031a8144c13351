"""The commands `openai-runs keys new` and `openai-runs keys hash`."""

from pathlib import Path
from typing import Annotated

import typer

from openai_runs.cli.terminal import refuse


def new(
    label: Annotated[str, typer.Option(help="The key's owner, who sees its own objects only: one word.")],
    append: Annotated[
        Path | None,
        typer.Option(
            help="A file for --keys-file, to which the line is added: only the key is printed.", dir_okay=False
        ),
    ] = None,
) -> None:
    """Make a key: it is shown once, and its hash is the line for the server's --keys-file."""
    from openai_runs.server.keys import hashed, new_key

    if len(label.split()) != 1 or label != label.strip():
        raise typer.BadParameter(f"--label must be one word without blanks: got {label!r}")
    key = new_key()
    if append is not None:
        try:
            _add_line(append, f"{hashed(key)} {label}")
        except OSError as error:
            refuse(f"the key cannot be added: {error}", 2)
        print(key)
        return
    print(f"The key, which is shown only now: {key}")
    print(f"The line for --keys-file:         {hashed(key)} {label}")


def _add_line(file: Path, line: str) -> None:
    """Add a line to a file, which is made if it is not there; the last line of the file may lack its end."""
    with file.open("ab+") as opened:
        opened.seek(max(opened.tell() - 1, 0))
        if opened.read() not in (b"", b"\n"):
            opened.write(b"\n")
        opened.write(f"{line}\n".encode())


def hash_file(
    file: Annotated[Path, typer.Argument(help="A file of keys, as for --keys-file.", dir_okay=False)],
) -> None:
    """Print a file of keys with hashes in place of the keys, which go on working: owners keep their objects.

    Only for keys that were made at random: a word that people choose can be found out from its hash.
    """
    from openai_runs.server.keys import hash_keys

    try:
        text = hash_keys(file.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        refuse(f"the keys cannot be read: {error}", 2)
    print(text, end="")
