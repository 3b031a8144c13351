"""A command's options in a file: TOML with their names.

What it says holds where neither an option nor an environment variable says something else. Nothing in it is ignored: a
setting that is misspelt would be missed when it is needed.
"""

import inspect
import re
import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

import typer
from attrs import frozen

_KINDS: Final[Mapping[Any, str]] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    Path: "a string",
    list[str]: "an array of strings",
}


@frozen(kw_only=True)
class Setting:
    """An option, as the file has it."""

    name: str  #: that of the option, without the hyphens before it
    parameter: str  #: of the command's function
    type: Any  #: of its value, without ``None``
    least: float | None = None
    most: float | None = None

    @property
    def kind(self) -> str:
        """What its value is in TOML."""
        if _is_enum(self.type):
            return "one of " + ", ".join(f'"{member}"' for member in self.type)
        return _KINDS[self.type]

    def problem(self, value: object) -> str | None:
        """What a value must be, if it is something else. It is not quoted, since it may be secret."""
        if not _fits(value, self.type):
            return f"must be {self.kind}"
        if self.least is not None and isinstance(value, int | float) and not value >= self.least:  # NaN is not
            return f"must be at least {self.least:g}"
        if self.most is not None and isinstance(value, int | float) and value > self.most:
            return f"must be at most {self.most:g}"
        return None


def settings_of(command: Callable[..., Any]) -> dict[str, Setting]:
    """The settings of a command by their names: its options, other than ``--config``."""
    hints = get_type_hints(command, include_extras=True)
    found = {}
    for parameter in inspect.signature(command).parameters:
        type, info = get_args(hints[parameter])
        if isinstance(type, UnionType):
            type = next(member for member in get_args(type) if member is not None.__class__)
        declared = (info.param_decls or [f"--{parameter.replace('_', '-')}"])[0]
        name = declared.split("/")[0].lstrip("-")
        found[name] = Setting(name=name, parameter=parameter, type=type, least=info.min, most=info.max)
    found.pop("config", None)
    return found


def read_settings(file: Path, settings: Mapping[str, Setting]) -> dict[str, Any]:
    """Read a file of settings.

    Args:
        file: It.
        settings: What may be in it.

    Returns:
        The values, by the parameters of the command's function.

    Raises:
        typer.BadParameter: It cannot be read, or has a name that is no setting's, or a value that does not fit.
    """
    try:
        text = file.read_text("utf-8-sig")
        values = tomllib.loads(text)
    except (OSError, ValueError) as error:  # that of TOML says in which line
        raise typer.BadParameter(f"{file} cannot be read: {error}") from None
    found = {}
    for name, value in values.items():
        where = f"{file}{_line_of(name, text)}"
        if (setting := settings.get(name)) is None and isinstance(value, dict):
            raise typer.BadParameter(f"{where}: settings stand at the top level, not in a table such as [{name}]")
        if setting is None:
            close = get_close_matches(name, settings, n=1)
            raise typer.BadParameter(
                f"{where}: there is no setting {name!r}" + (f"; did you mean {close[0]!r}?" if close else "")
            )
        if (problem := setting.problem(value)) is not None:
            raise typer.BadParameter(f"{where}: {name!r} {problem}")
        found[setting.parameter] = value
    return found


def _is_enum(type: Any) -> bool:
    """Whether a type is one of a few words."""
    return get_origin(type) is None and issubclass(type, StrEnum)


def _fits(value: object, type: Any) -> bool:
    if _is_enum(type):
        return isinstance(value, str) and value in {*type}
    if type == list[str]:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if isinstance(value, bool) or type is bool:
        return isinstance(value, bool) and type is bool
    if type is float:
        return isinstance(value, int | float)
    return isinstance(value, str if type is Path else type)


def _line_of(name: str, text: str) -> str:
    """Where a name stands, which `tomllib` does not tell; empty if it is written in an unusual way."""
    found = re.search(rf"""^[ \t]*\[*[ \t]*["']?{re.escape(name)}["']?[ \t]*[=.\]]""", text, re.MULTILINE)
    return "" if found is None else f", line {text.count(chr(10), 0, found.start()) + 1}"
