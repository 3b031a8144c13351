"""Draw the table of run moves as a picture, when the pages are built; so the picture cannot differ from the table."""

from math import hypot
from pathlib import Path
from typing import Any

from openai_runs.lifecycle import MOVES
from openai_runs.models.run import RunStatus

# Where each status stands, in grid units. The arrows come from the table.
PLACES = {
    RunStatus.QUEUED: (0, 0),
    RunStatus.IN_PROGRESS: (2, 0),
    RunStatus.REQUIRES_ACTION: (1.3, 1.3),
    RunStatus.CANCELLING: (2.6, 3.2),
    RunStatus.COMPLETED: (4.9, -0.6),
    RunStatus.INCOMPLETE: (4.9, 0.3),
    RunStatus.FAILED: (4.9, 1.2),
    RunStatus.EXPIRED: (4.9, 2.1),
    RunStatus.CANCELLED: (4.9, 3.2),
}
UNIT, WIDTH, HEIGHT = 150, 142, 40
LOW, HIGH = "#64748b", "#0f766e"


def _box(status: RunStatus) -> str:
    x, y = (UNIT * p for p in PLACES[status])
    fill = "#fef3c7" if status.is_terminal else "#ccfbf1"
    return (
        f'<rect x="{x - WIDTH / 2}" y="{y - HEIGHT / 2}" width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{fill}" '
        f'stroke="{LOW}"/><text x="{x}" y="{y + 5}" text-anchor="middle">{status}</text>'
    )


def _edge(x: float, y: float, dx: float, dy: float) -> tuple[float, float]:
    """Where the line from a box's middle leaves the box."""
    scale = min(WIDTH / 2 / abs(dx) if dx else 9e9, HEIGHT / 2 / abs(dy) if dy else 9e9)
    return x + dx * scale, y + dy * scale


def _arrow(start: RunStatus, end: RunStatus) -> str:
    (x1, y1), (x2, y2) = ([UNIT * p for p in PLACES[s]] for s in (start, end))
    dx, dy = x2 - x1, y2 - y1
    (ax, ay), (bx, by) = _edge(x1, y1, dx, dy), _edge(x2, y2, -dx, -dy)
    length, bend = hypot(dx, dy), 0.06 if end.is_terminal else 0.1
    cx, cy = (ax + bx) / 2 - dy * bend, (ay + by) / 2 + dx * bend * (length > 0)
    tone = LOW if end.is_terminal else HIGH
    width = 1 if end.is_terminal else 2
    return (
        f'<path d="M{ax:.0f},{ay:.0f} Q{cx:.0f},{cy:.0f} {bx:.0f},{by:.0f}" fill="none" stroke="{tone}" '
        f'stroke-width="{width}" marker-end="url(#{"end" if end.is_terminal else "on"})"/>'
    )


def draw() -> str:
    """Make the picture as SVG."""
    arrows = [_arrow(start, end) for start, ends in MOVES.items() for end in sorted(ends)]
    boxes = [_box(status) for status in MOVES]
    heads = "".join(
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto" '
        f'markerUnits="userSpaceOnUse"><path d="M0,0 L8,4 L0,8 z" fill="{tone}"/></marker>'
        for name, tone in (("end", LOW), ("on", HIGH))
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="-80 -130 900 680" font-family="sans-serif" font-size="15">'
        f'<rect x="-80" y="-130" width="900" height="680" fill="white"/><defs>{heads}</defs>'
        f"{''.join(arrows + boxes)}</svg>\n"
    )


def write(app: Any) -> None:
    """Put the picture where the page about the lifecycle finds it."""
    picture = Path(app.srcdir) / "_build/lifecycle.svg"
    picture.parent.mkdir(exist_ok=True)
    picture.write_text(draw())


def setup(app: Any) -> dict[str, Any]:
    """Take part in a Sphinx build."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
