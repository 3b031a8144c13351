"""The picture of the lifecycle: every move is an arrow, and no arrow has a box in its way."""

import itertools
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docs.draw_lifecycle import DARK, LIGHT, Arrow, Layout, draw, layout
from openai_runs.lifecycle import MOVES


def problems(plan: Layout) -> list[str]:
    """What would confuse whoever looks at the picture."""
    found = []
    for arrow in plan.arrows:
        points = list(arrow.points())
        way = f"{arrow.start} -> {arrow.end}"
        others = {name: box for name, box in plan.boxes.items() if name not in (arrow.start, arrow.end)}
        found += [f"{way} crosses {name}" for name, box in others.items() if any(map(box.contains, points))]
        if not all(0 <= x <= plan.width and 0 <= y <= plan.height for x, y in points):
            found.append(f"{way} leaves the picture")
        if not (plan.boxes[arrow.start].contains(points[0]) and plan.boxes[arrow.end].contains(points[-1])):
            found.append(f"{way} hangs in the air")
    for (one, a), (other, b) in itertools.combinations(plan.boxes.items(), 2):
        if a.x <= b.right and b.x <= a.right and a.y <= b.bottom and b.y <= a.bottom:
            found.append(f"{one} covers {other}")
    for name, box in plan.boxes.items():
        if box.x < 0 or box.y < 0 or box.right > plan.width or box.bottom > plan.height:
            found.append(f"{name} leaves the picture")
    return found


def test_the_picture_shows_the_table():
    """Each status is a box and each move an arrow: the picture says what the table says."""
    plan = layout(MOVES)
    assert plan.boxes.keys() == MOVES.keys()
    assert sorted((arrow.start, arrow.end) for arrow in plan.arrows) == sorted(
        (start, end) for start, ends in MOVES.items() for end in ends
    )


def test_no_arrow_crosses_a_box():
    """An arrow touches its own two boxes only, and stays inside the picture."""
    assert problems(layout(MOVES)) == []


@st.composite
def tables(draw: st.DrawFn) -> Mapping[str, frozenset[str]]:
    """A table of moves such as a later version of the API might have."""
    working = [f"working_{i}" for i in range(draw(st.integers(1, 6)))]
    ends = [f"end_{i}" for i in range(draw(st.integers(1, 8)))]
    ahead = {
        status: draw(st.frozensets(st.sampled_from([other for other in working + ends if other != status]), min_size=1))
        for status in working
    }
    return {**ahead, **{end: frozenset() for end in ends}}


@given(tables())
def test_no_table_makes_a_muddle(moves):
    """The layout follows from the table: a status that is added later has a place and a free way."""
    assert problems(layout(moves)) == []


def test_an_arrow_through_a_box_would_be_noticed():
    """The check finds what it is for."""
    plan = layout(MOVES)
    boxes = plan.boxes
    (x, y), (u, v) = ((boxes[name].x + 5, boxes[name].y + 5) for name in ("queued", "cancelling"))
    straight = Arrow("queued", "cancelling", ((x, y), (x, y), (u, v), (u, v)))
    outside = Arrow("queued", "cancelling", ((x, y), (-900, y), (-900, v), (u, v)))
    found = problems(Layout(plan.width, plan.height, boxes, [straight, outside]))
    assert "queued -> cancelling crosses in_progress" in found
    assert "queued -> cancelling leaves the picture" in found


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_the_picture_has_every_arrow_drawn(palette):
    """What is laid out is drawn, in both themes."""
    plan, picture = layout(MOVES), draw(palette)
    assert picture.count("<rect") == len(plan.boxes)
    assert picture.count("marker-end") == len(plan.arrows)
    assert all(f">{status}<" in picture for status in MOVES)
