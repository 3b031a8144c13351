"""What the measures are to reach, and whether they do. Nothing here measures."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import frozen
from rich.table import Table

from docs.draw_performance import number
from tests.bench.measures import MEASURES


@frozen
class Goal:
    """A bound of one figure."""

    figure: str  #: its key
    field: str  #: ``ours``, ``to_floor`` or ``to_openai``
    bound: float
    at_least: bool = False  #: else at most


#: In the order of the table.
GOALS: Final = (
    Goal("get one", "to_floor", 1.00),
    Goal("get one", "to_openai", 1 / 8),
    Goal("get many", "to_floor", 0.85),
    Goal("get many", "to_openai", 1 / 15),
    Goal("get instructions", "ours", 410_000),
    Goal("list", "to_floor", 4.2),
    Goal("list", "to_openai", 0.075),
    Goal("stream burst", "to_floor", 2.0),
    Goal("stream burst", "to_openai", 0.03),
    Goal("stream paced", "to_floor", 1.25),
    Goal("lifecycle", "to_floor", 0.90),
    Goal("lifecycle", "to_openai", 1 / 18),
    Goal("follower memory", "ours", 4.0),
    Goal("follower delay", "ours", 2.0),
    Goal("import instructions", "to_floor", 0.35),
    Goal("start instructions", "to_floor", 1.10),
    Goal("runs a second", "ours", 1000, at_least=True),
    Goal("server CPU a run", "ours", 1.0),
    Goal("client CPU a run", "ours", 0.7),
    Goal("requests a run", "ours", 2.0),
    Goal("server get instructions", "to_floor", 1.05),
    Goal("token CPU", "ours", 70),
    Goal("token p50", "ours", 10),
    Goal("token p99", "ours", 60),
)
_OF: Final = {"to_floor": "times the floor", "to_openai": "times openai-python"}


@frozen(kw_only=True)
class Verdict:
    """What came of a goal."""

    figure: str  #: its key
    field: str
    name: str
    goal: str
    measured: str  #: empty if it was not
    met: bool | None  #: nothing if it was not measured
    #: How many times the goal: beyond 1 it is missed, also where more is better.
    times: float | None
    outcome: str  #: in words


def verdicts(figures: Mapping[str, Mapping[str, Any]]) -> list[Verdict]:
    """All goals and what came of them.

    Args:
        figures: By key, as a report has them.
    """
    return [_verdict(goal, figures.get(goal.figure, {})) for goal in GOALS]


def _verdict(goal: Goal, figure: Mapping[str, Any]) -> Verdict:
    measure, measured = MEASURES[goal.figure], figure.get(goal.field)
    unit = measure.unit if goal.field == "ours" else _OF[goal.field]
    times, outcome = None, "not measured"
    if measured is not None:
        share = measured / goal.bound
        times = 1 / share if goal.at_least else share
        how_much = f" by {abs(share - 1):.0%}" if share < 2 else f": {share:.1f} times the goal"
        outcome = ("met" if times <= 1 else "missed") + how_much
    return Verdict(
        figure=goal.figure,
        field=goal.field,
        name=measure.name,
        goal=f"{'at least' if goal.at_least else 'at most'} {number(goal.bound)} {unit}".rstrip(),
        measured="" if measured is None else number(measured),
        met=None if times is None else times <= 1,
        times=None if times is None else float(f"{times:.4g}"),
        outcome=outcome,
    )


def table(told: Sequence[Verdict]) -> Table:
    """For a terminal."""
    shown = Table(title="goals", title_justify="left", min_width=72)
    for heading in ("", "goal", "measured", ""):
        shown.add_column(heading, justify="right" if heading == "measured" else "left")
    for verdict in told:
        style = {True: "green", False: "red", None: "dim"}[verdict.met]
        shown.add_row(verdict.name, verdict.goal, verdict.measured, verdict.outcome, style=style)
    return shown
