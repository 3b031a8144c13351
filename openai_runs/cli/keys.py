"""The commands `openai-runs keys new`, `openai-runs keys hash` and `openai-runs keys list`."""

from os import SEEK_END
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from rich.markup import escape

from openai_runs.cli.config_option import ServerConfig, variable_of
from openai_runs.cli.json_option import print_json
from openai_runs.cli.key_options import LIMITS, keys_text, some_limits_from
from openai_runs.cli.terminal import console, refuse, show_header

KeysFile: TypeAlias = Annotated[
    Path | None,
    typer.Argument(
        envvar=variable_of("keys_file"),
        help="A file of keys, as for --keys-file. Without one, OPENAI_RUNS_KEYS may have the keys.",
        dir_okay=False,
    ),
]


def new(
    label: Annotated[str, typer.Option(help="The key's owner, who sees its own objects only: one word.")],
    append: Annotated[
        Path | None,
        typer.Option(
            help="A file for --keys-file, to which the line is added: only the key is printed.", dir_okay=False
        ),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            help="What its owner may take, such as active-runs=20, or none for no limit; can be repeated. There are "
            f"{LIMITS}.",
            metavar="NAME=NUMBER",
        ),
    ] = None,
    retention_days: Annotated[
        str | None,
        typer.Option(
            help="For how many days its owner's threads are kept in which nothing happens, or never: they are never "
            "deleted for that. Unset: what --retention-days of the server says.",
            metavar="DAYS",
        ),
    ] = None,
) -> None:
    """Make a key: it is shown once, and its hash is the line for the server's --keys-file."""
    from openai_runs.engine.limits import written
    from openai_runs.server.keys import hashed, new_key, read_days, written_days

    words = [*written(some_limits_from(limit))]
    if retention_days is not None:
        try:
            words.append(written_days(read_days(retention_days)))
        except ValueError as error:
            raise typer.BadParameter(f"--retention-days: {error}") from None
    if len(label.split()) != 1 or label != label.strip():
        raise typer.BadParameter(f"--label must be one word without blanks: got {label!r}")
    key = new_key()
    line = " ".join((hashed(key), label, *words))
    if append is not None:
        try:
            _add_line(append, line)
        except (OSError, ValueError) as error:
            refuse(f"the key cannot be added: {error}", 2)
        print(key)
        return
    print(f"The key, which is shown only now: {key}")
    print(f"The line for --keys-file:         {line}")


def _add_line(file: Path, line: str) -> None:
    """Add a line to a file, which is made if it is not there; the last line of the file may lack its end.

    Raises:
        OSError: The file cannot be read or written.
        ValueError: A server would not read it afterwards: perhaps another line of the owner says something else.
    """
    from openai_runs.server.keys import read_lines, read_retention

    with file.open("ab+") as opened:
        opened.seek(0)
        text = f"{opened.read().decode('utf-8-sig')}\n{line}"
        read_lines(text)
        read_retention(text)
        opened.seek(0, SEEK_END)
        opened.seek(max(opened.tell() - 1, 0))
        if opened.read() not in (b"", b"\n"):
            opened.write(b"\n")
        opened.write(f"{line}\n".encode())


def _text_of(keys_file: Path | None) -> str:
    """The keys of the command line or, without a file there, those that the server has."""
    if (text := keys_text(keys_file)) is None:
        raise typer.BadParameter("name a file of keys, here or in OPENAI_RUNS_KEYS_FILE")
    return text


def hash_file(
    config: ServerConfig = None,  # noqa: ARG001  # its callback has read the file
    keys_file: KeysFile = None,
) -> None:
    """Print a file of keys with hashes in place of the keys, which go on working: owners keep their objects.

    Only for keys that were made at random: a word that people choose can be found out from its hash.
    """
    from openai_runs.server.keys import hash_keys

    try:
        text = hash_keys(_text_of(keys_file))
    except (OSError, ValueError) as error:
        refuse(f"the keys cannot be read: {error}", 2)
    print(text, end="")


def list_keys(
    config: ServerConfig = None,  # noqa: ARG001  # its callback has read the file
    keys_file: KeysFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON, one in a line.")] = False,
) -> None:
    """List the keys of a file by their lines: the labels of their owners, their limits and retention. No key is shown.

    The limits are those of the file: where it names none, those of the server's --limit hold.
    """
    from openai_runs.engine.limits import written
    from openai_runs.server.keys import is_hashed, limits_in, read_lines, read_retention, written_days

    try:
        text = _text_of(keys_file)
        lines, retention = read_lines(text), read_retention(text)
    except (OSError, ValueError) as error:
        refuse(f"the keys cannot be read: {error}", 2)
    limits = limits_in(lines)
    if not as_json:
        show_header(f"[dim]{'line':>4}  {'kind':<4}  {'owner':<20}  limits and retention[/]")
    for line in lines:
        kind, words = "hash" if is_hashed(line.key) else "key", [*written(limits.get(line.owner, {}))]
        if line.owner in retention:
            words.append(written_days(retention[line.owner]))
        if as_json:
            print_json({"line": line.number, "kind": kind, "owner": line.owner, "limits": words})
        else:
            row = f"{line.number:>4}  {kind:<4}  {line.owner:<20}  {' '.join(words)}"
            console.print(escape(row.rstrip()))
