"""Write the table of what each kind of endpoint can do, from the one that the engine goes by."""

from pathlib import Path
from typing import Any

from openai_runs.backends.capabilities import table


def write(app: Any) -> None:
    """Put the table where the page about live models finds it."""
    page = Path(app.srcdir) / "_build/capabilities.md"
    page.parent.mkdir(exist_ok=True)
    page.write_text(table() + "\n")


def setup(app: Any) -> dict[str, Any]:
    """Take part in a Sphinx build."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
