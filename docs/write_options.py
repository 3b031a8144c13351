"""Write the table of the options of `openai-runs serve`, from the command itself."""

import inspect
import re
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

from openai_runs.cli.config_option import variable_of
from openai_runs.cli.serve import serve
from openai_runs.cli.settings_file import settings_of


def table() -> str:
    """A row for each option: its name, its variable, what it is in a file, and what ``--help`` says."""
    hints = get_type_hints(serve, include_extras=True)
    parameters = inspect.signature(serve).parameters
    rows = ["| option | variable | in a file | default | what it is |", "| --- | --- | --- | --- | --- |"]
    for setting in settings_of(serve).values():
        default = parameters[setting.parameter].default
        what = re.sub(r"--[a-z][\w-]*", r"`\g<0>`", get_args(hints[setting.parameter])[1].help)  # else one long dash
        kind = setting.kind.replace("one of ", "").replace('"', "`")
        cells = f"`--{setting.name}`", f"`{variable_of(setting.parameter)}`", kind, _shown(default), what
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _shown(default: object) -> str:
    match default:
        case None:
            return ""
        case bool():
            return f"`{str(default).lower()}`"
        case Enum():
            return f"`{default.value}`"
        case float():
            return f"`{default:g}`"
        case _:
            return f"`{default}`"


def write(app: Any) -> None:
    """Put the table where the page about the command line finds it."""
    page = Path(app.srcdir) / "_build/options.md"
    page.parent.mkdir(exist_ok=True)
    page.write_text(table() + "\n")


def setup(app: Any) -> dict[str, Any]:
    """Take part in a Sphinx build."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
