"""Bars for the runs of a page: how long each took, how many tokens it used. No I/O, no HTML."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

from attrs import frozen

from openai_runs.models.run import Run
from openai_runs.server.console.views import lasted

_LOWEST: Final = 2.0  # percent; what is there is to be seen
_GAP: Final = 0.25  # of a bar's place


@frozen
class ChartBar:
    """One run, in percent of the chart's width and height."""

    x: float
    width: float
    height: float
    status: str
    label: str


@frozen
class Chart:
    """Bars, the oldest run first."""

    title: str
    summary: str
    bars: tuple[ChartBar, ...]


def charts(rows: Sequence[tuple[Run, float | None]]) -> tuple[Chart, ...]:
    """Make the charts of a list of runs.

    Args:
        rows: The runs, the newest first, and how many seconds each has taken, if that is known.

    Returns:
        None for a single run. Runs whose seconds or tokens are not known have no bar for them.
    """
    in_order = rows[::-1]
    tokens = [(run, None if run.usage is None else float(run.usage.total_tokens)) for run, _ in in_order]
    made = (_chart("Took", in_order, lasted), _chart("Tokens", tokens, lambda number: f"{number:,.0f}"))
    return tuple(chart for chart in made if chart is not None)


def _chart(title: str, values: Sequence[tuple[Run, float | None]], shown: Callable[[float], str]) -> Chart | None:
    known = [value for _, value in values if value is not None]
    if len(known) < 2:
        return None
    place, most = 100 / len(values), max(*known, 1.0)
    bars = tuple(
        ChartBar(
            x=round(number * place, 2),
            width=round(place * (1 - _GAP), 2),
            height=round(max(value / most * 100, _LOWEST), 2),
            status=str(run.status),
            label=f"{run.id}: {shown(value)}",
        )
        for number, (run, value) in enumerate(values)
        if value is not None
    )
    return Chart(title, f"median {shown(median(known))}, most {shown(max(known))}", bars)
