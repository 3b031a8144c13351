"""Count the lines of each room of the package, when the pages are built; so the table cannot fall behind the code."""

from collections import Counter
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1] / "openai_runs"
TOP = "the top level"


def count(package: Path) -> list[tuple[str, int, int]]:
    """Count files and lines of Python, room by room, the largest first.

    A room is a folder directly in the package. What lies beside the rooms counts as one more.
    """
    files, lines = Counter[str](), Counter[str]()
    for file in package.rglob("*.py"):
        room, *below = file.relative_to(package).parts
        name = f"`{room}/`" if below else TOP
        files[name] += 1
        lines[name] += len(file.read_text("utf-8").splitlines())
    return sorted(((name, files[name], lines[name]) for name in files), key=lambda row: (-row[2], row[0]))


def table(rooms: list[tuple[str, int, int]]) -> str:
    """Write all of this down, in Markdown."""
    total = sum(lines for _, _, lines in rooms)
    rows = [f"| {name} | {files} | {lines:,} | {lines / total:.1%} |" for name, files, lines in rooms]
    last = f"| all | {sum(files for _, files, _ in rooms)} | {total:,} | 100% |"
    return "\n".join(["| room | files | lines | share |", "| --- | --: | --: | --: |", *rows, last])


def write(app: Any) -> None:
    """Put the table where the page about the architecture finds it."""
    page = Path(app.srcdir) / "_build/rooms.md"
    page.parent.mkdir(exist_ok=True)
    page.write_text(table(count(PACKAGE)) + "\n")


def setup(app: Any) -> dict[str, Any]:
    """Take part in a Sphinx build."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
