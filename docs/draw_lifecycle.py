"""Draw the table of run moves as a picture, when the pages are built; so the picture cannot differ from the table.

Unfinished statuses stand on the left, one below the other, and ends on the right. Moves to an end go through the gap
between the two columns; moves among unfinished statuses go straight down, or around the left side. So no arrow has a
box in its way, whatever the table says.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, TypeAlias

from attrs import frozen

from openai_runs.lifecycle import MOVES

Point: TypeAlias = tuple[float, float]
Moves: TypeAlias = Mapping[Any, frozenset[Any]]

WIDTH, HEIGHT = 152, 52  # of a box
ROW, GAP, MARGIN = 132, 330, 24  # from box to box, between the columns, around it all
PORT = 10  # between two arrows at one side of a box, at most
ARC = 46  # how far an arrow around the left side goes out for each row that it passes


@frozen
class Box:
    """Where a status stands."""

    x: float  #: of its left side
    y: float  #: of its upper side

    @property
    def right(self) -> float:
        return self.x + WIDTH

    @property
    def bottom(self) -> float:
        return self.y + HEIGHT

    def contains(self, point: Point) -> bool:
        """Whether a point is in the box, or on its edge."""
        return self.x <= point[0] <= self.right and self.y <= point[1] <= self.bottom


@frozen
class Arrow:
    """A move: a cubic Bézier curve from one box to another."""

    start: str
    end: str
    curve: tuple[Point, Point, Point, Point]

    def points(self, count: int = 200) -> Iterator[Point]:
        """Points of the curve, from its beginning to its end."""
        a, b, c, d = self.curve
        for step in range(count + 1):
            t = step / count
            u = 1 - t
            weights = u**3, 3 * u * u * t, 3 * u * t * t, t**3
            yield (
                sum(w * p[0] for w, p in zip(weights, (a, b, c, d), strict=True)),
                sum(w * p[1] for w, p in zip(weights, (a, b, c, d), strict=True)),
            )


@frozen
class Layout:
    """Where everything goes."""

    width: float
    height: float
    boxes: Mapping[str, Box]
    arrows: Sequence[Arrow]


def layout(moves: Moves) -> Layout:
    """Find a place for each status and a way for each move.

    Args:
        moves: From each status, those that may come next; an end has none.
    """
    working = [status for status, ahead in moves.items() if ahead]
    sources = {end: [status for status in working if end in moves[status]] for end in moves if not moves[end]}
    ends = sorted(sources, key=lambda end: len(sources[end]))  # those that few lead to come first
    arcs = [(a, b) for a in working for b in working if b in moves[a] and (a, b) not in set(pairwise(working))]
    around = max((abs(working.index(a) - working.index(b)) for a, b in arcs), default=0) * ARC * 0.75

    tall = max((len(working) - 1) * ROW, (len(ends) - 1) * HEIGHT * 1.6)
    left, right = MARGIN + around, MARGIN + around + WIDTH + GAP
    boxes = {status: Box(left, MARGIN + y) for status, y in zip(working, _spread(tall, len(working)), strict=True)}
    boxes |= {end: Box(right, MARGIN + y) for end, y in zip(ends, _spread(tall, len(ends)), strict=True)}
    return Layout(
        right + WIDTH + MARGIN,
        2 * MARGIN + tall + HEIGHT,
        boxes,
        [*_down(moves, working, boxes), *_around(arcs, working, boxes), *_across(sources, working, ends, boxes)],
    )


def _spread(length: float, count: int) -> list[float]:
    return [length * i / max(count - 1, 1) for i in range(count)]


def _ports(box: Box, names: Sequence[Any]) -> dict[Any, float]:
    """A height at a box's side for each arrow there, in their order."""
    apart = min(PORT, HEIGHT / (len(names) + 1))
    middle = box.y + HEIGHT / 2
    return {name: middle + (i - (len(names) - 1) / 2) * apart for i, name in enumerate(names)}


def _down(moves: Moves, working: Sequence[str], boxes: Mapping[str, Box]) -> Iterator[Arrow]:
    """Moves to the next status below."""
    for start, end in pairwise(working):
        if end in moves[start]:
            x, above, below = boxes[start].x + WIDTH / 2, boxes[start].bottom, boxes[end].y
            yield Arrow(start, end, _bent((x, above), (x, below), (0, ROW / 4), (0, -ROW / 4)))


def _around(arcs: Sequence[tuple[str, str]], working: Sequence[str], boxes: Mapping[str, Box]) -> Iterator[Arrow]:
    """All other moves among unfinished statuses."""
    row = {status: i for i, status in enumerate(working)}
    at: dict[str, dict[Any, float]] = {}
    for status in working:
        # Wide arcs go around narrow ones: at the upper end of an arc the wide ones come first, at the lower end last.
        others = reversed([*working[row[status] :], *working[: row[status]]])
        at[status] = _ports(boxes[status], [arc for other in others for arc in arcs if {*arc} == {status, other}])
    for arc in arcs:
        start, end = arc
        out = -ARC * abs(row[start] - row[end])
        first, last = (boxes[start].x, at[start][arc]), (boxes[end].x, at[end][arc])
        yield Arrow(start, end, _bent(first, last, (out, 0), (out, 0)))


def _across(
    sources: Mapping[str, Sequence[str]], working: Sequence[str], ends: Sequence[str], boxes: Mapping[str, Box]
) -> Iterator[Arrow]:
    """Moves to an end."""
    leaving = {status: _ports(boxes[status], [end for end in ends if status in sources[end]]) for status in working}
    coming = {end: _ports(boxes[end], sources[end]) for end in ends}
    for end in ends:
        for start in sources[end]:
            first, last = (boxes[start].right, leaving[start][end]), (boxes[end].x, coming[end][start])
            yield Arrow(start, end, _bent(first, last, (GAP * 0.55, 0), (-GAP * 0.55, 0)))


def _bent(first: Point, last: Point, out: Point, back: Point) -> tuple[Point, Point, Point, Point]:
    """A curve between two points, and how far its handles are from each."""
    return first, (first[0] + out[0], first[1] + out[1]), (last[0] + back[0], last[1] + back[1]), last


@frozen
class Palette:
    """Colours for one theme of the pages; the background is the page's own."""

    text: str
    end: str  #: the fill of an end
    edge: str  #: the edge of an end
    statuses: Sequence[tuple[str, str]]  #: of each unfinished status: its edge and arrows, and its fill


LIGHT: Final = Palette(
    text="#0f172a",
    end="#f1f5f9",
    edge="#64748b",
    statuses=(("#475569", "#e2e8f0"), ("#0f766e", "#ccfbf1"), ("#b45309", "#fef3c7"), ("#be123c", "#ffe4e6")),
)
DARK: Final = Palette(
    text="#f1f5f9",
    end="#1e293b",
    edge="#94a3b8",
    statuses=(("#cbd5e1", "#334155"), ("#2dd4bf", "#134e4a"), ("#fbbf24", "#5b3a0c"), ("#fb7185", "#5f1527")),
)


def draw(palette: Palette, moves: Moves = MOVES) -> str:
    """Make the picture as SVG. Each arrow has the colour of the status that it leaves."""
    plan = layout(moves)
    working = [status for status, ahead in moves.items() if ahead]
    colours = {status: palette.statuses[i % len(palette.statuses)] for i, status in enumerate(working)}
    heads = "".join(
        f'<marker id="{status}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto" '
        f'markerUnits="userSpaceOnUse"><path d="M0,0.5 L8,4 L0,7.5 z" fill="{colours[status][0]}"/></marker>'
        for status in working
    )
    arrows = [_path(arrow, colours[arrow.start][0]) for arrow in plan.arrows]
    boxes = [
        _rectangle(status, box, *colours.get(status, (palette.edge, palette.end)), palette.text)
        for status, box in plan.boxes.items()
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {plan.width:.0f} {plan.height:.0f}" '
        f'width="{plan.width:.0f}" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="15">'
        f"<defs>{heads}</defs>{''.join(arrows + boxes)}</svg>\n"
    )


def _path(arrow: Arrow, colour: str) -> str:
    (ax, ay), *others = arrow.curve
    handles = " ".join(f"{x:.1f},{y:.1f}" for x, y in others)
    return (
        f'<path d="M{ax:.1f},{ay:.1f} C{handles}" fill="none" stroke="{colour}" stroke-width="1.6" '
        f'marker-end="url(#{arrow.start})"/>'
    )


def _rectangle(status: str, box: Box, edge: str, fill: str, text: str) -> str:
    return (
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{WIDTH}" height="{HEIGHT}" rx="9" fill="{fill}" '
        f'stroke="{edge}" stroke-width="1.6"/><text x="{box.x + WIDTH / 2:.1f}" y="{box.y + HEIGHT / 2 + 5:.1f}" '
        f'text-anchor="middle" fill="{text}">{status}</text>'
    )


def write(app: Any) -> None:
    """Put the pictures, one for each theme, where the page about the lifecycle finds them."""
    folder = Path(app.srcdir) / "_build"
    folder.mkdir(exist_ok=True)
    for theme, palette in ("light", LIGHT), ("dark", DARK):
        (folder / f"lifecycle-{theme}.svg").write_text(draw(palette))


def setup(app: Any) -> dict[str, Any]:
    """Take part in a Sphinx build."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
