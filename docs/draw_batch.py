"""Draws the picture of the page about analysing a batch, with the page's own code."""

import contextlib
import io
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

PAGE = "how-to/analyse-a-batch.md"


def blocks(page: str) -> list[str]:
    """The Python blocks of a page, up to the one that saves the picture."""
    found = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    last = next(n for n, block in enumerate(found) if "savefig" in block)
    return found[: last + 1]


def write(app: Any) -> None:
    """Put the picture where the page finds it."""
    folder = Path(app.srcdir) / "_build"
    folder.mkdir(exist_ok=True)
    code = "\n".join(blocks((Path(app.srcdir) / PAGE).read_text("utf-8")))
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(code, PAGE, "exec"), {"__name__": "__main__"})  # noqa: S102  # the documents' own code
        shutil.copy("batch.svg", folder)


def setup(app: Any) -> dict[str, Any]:
    """Take part in a Sphinx build."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
