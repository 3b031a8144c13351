"""Make tables and pictures of the page about performance, from what the benchmark has written.

``nox -s bench -- --json tests/bench/figures.json`` writes it. No figure of the page is written by hand, so page and
benchmark cannot disagree.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from attrs import frozen

FIGURES: Final = Path(__file__).parents[1] / "tests/bench/figures.json"
Report: TypeAlias = Mapping[str, Any]

PARTS: Final = "client", "start", "counted", "server"
#: Headings of columns, by field of a figure.
COLUMNS: Final = {
    "unit": "unit",
    "ours": "openai_runs",
    "floor": "floor",
    "openai": "openai-python",
    "to_floor": "to the floor",
    "to_openai": "to openai-python",
}
#: Why a goal is missed, by figure; shown where it is.
WHY: Final = {
    "get one": "The floor makes nothing of the bytes that it reads. Most of the difference is making a `Run` of them.",
    "get many": "As with one in flight.",
    "get instructions": "Making the model is the largest part of ours, then aiohttp's connection and response.",
    "list": "The floor makes no objects, and a run is a large one.",
    "stream burst": "An event is framed, decoded, made a model and kept in the transcript; the floor does nothing.",
    "stream paced": "Waking up for each event costs most, and the floor pays it, too. The rest is ours.",
    "lifecycle": "Parameters are checked, a run is created so that it can be found again, and eight models are made.",
    "follower memory": "Of each run the last snapshot is kept, and the coroutines that wait for the next poll.",
    "follower delay": "All runs share one event loop, which is late while polls are answered one after another.",
    "import instructions": "Names of the package are looked up when they are used, but the table of them is not free.",
    "start instructions": "Beyond aiohttp, the classes of runs and events are made, and what reads and writes them.",
    "runs a second": "The event loop of the server is the limit, not SQLite; server and client share the cores.",
    "server CPU a run": "Receiving and answering requests takes most of it, then executing the run.",
    "client CPU a run": "A job is a request that starts a run, and polls; keys, retries and pacing come on top.",
    "requests a run": "A run is asked for until the server has told the session of its changes.",
    "server get instructions": "The key's owner and the run are looked up, and headers say when to ask again.",
    "token CPU": "A token passes two connections and the engine, which tells it to each reader.",
    "token p50": "Model, server and client are three processes; where they want more than the cores, tokens queue.",
    "token p99": "The same queue, at its longest.",
}


def number(value: float) -> str:
    """Three digits of it."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


def part(told: Report, name: str) -> str:
    """The table of a part, in Markdown; of the columns, those in which there is something."""
    figures = [figure for figure in told["figures"].values() if figure["part"] == name]
    fields = [field for field in COLUMNS if any(figure.get(field, "") != "" for figure in figures)]
    rows = [[figure["name"], *(_cell(figure.get(field, "")) for field in fields)] for figure in figures]
    return _table({"": "---"} | {COLUMNS[field]: "---" if field == "unit" else "--:" for field in fields}, rows)


def _cell(value: float | str) -> str:
    return value if isinstance(value, str) else number(value)


def _table(columns: Mapping[str, str], rows: Sequence[Sequence[str]]) -> str:
    """A table of columns, whose headings and alignments these are."""
    return "".join(f"| {' | '.join(row)} |\n" for row in (columns, columns.values(), *rows))


def goals(told: Report) -> str:
    """The table of goals, in Markdown."""
    marks = {True: "✓ ", False: "✗ ", None: ""}
    rows = [
        [goal["name"], goal["goal"], goal["measured"], marks[goal["met"]] + goal["outcome"]] for goal in told["goals"]
    ]
    return _table({"": "---", "goal": "---", "measured": "--:", "outcome": "---"}, rows)


def losses(told: Report) -> str:
    """What misses its goal, or is dearer than openai-python, and why: a list in Markdown."""
    missed: dict[str, list[str]] = {}
    for goal in told["goals"]:
        if goal["met"] is False:
            missed.setdefault(goal["figure"], []).append(f"{goal['measured']}, where the goal is {goal['goal']}")
    lines = [f"- **{told['figures'][key]['name']}**: {'; '.join(how)}. {WHY[key]}\n" for key, how in missed.items()]
    return "".join(lines) or "Every goal that was measured is met.\n"


def machine(told: Report) -> str:
    """Where and when the figures were taken."""
    where, versions = told["machine"], dict(told["versions"])
    loop = "on uvloop" if "uvloop" in versions else "on asyncio's own event loop"
    packages = ", ".join(f"{name} {versions[name]}" for name in versions if name != "python")
    busy = (
        f" The machine was not idle: its load was {where['load']} when measuring began. So times are high, delays"
        " most of all, and ratios are rough; instructions hold."
        if where["load"] > where["cores"] / 4
        else ""
    )
    quick = (
        " This is the quick form, which has few rounds and counts no instructions." if told["form"] == "quick" else ""
    )
    return (
        f"Taken on {told['taken']} on {where['cores']} cores ({where['processor']}, {where['system']}):"
        f" {versions['python']}, {packages}; loopback without TLS, the client {loop}.{busy}{quick}\n"
    )


@frozen
class Bar:
    """A bar of a picture."""

    name: str
    length: float
    #: ``ours`` or ``floor``; or whether a goal is ``met`` or ``missed``.
    kind: str


def peer_bars(told: Report) -> Iterator[Bar]:
    """What each costs, as a share of what openai-python costs."""
    for figure in told["figures"].values():
        if "to_openai" in figure and figure["part"] == "client":
            name = figure["name"].removesuffix(": CPU")
            yield Bar(name, figure["to_openai"], "ours")
            yield Bar(name, figure["floor"] / figure["openai"], "floor")


def goal_bars(told: Report) -> Iterator[Bar]:
    """How much of a goal is used up; beyond 1 it is missed."""
    for goal in told["goals"]:
        if goal["times"] is not None:
            of = {"to_floor": " (floor)", "to_openai": " (openai-python)"}.get(goal["field"], "")
            yield Bar(goal["name"] + of, goal["times"], "met" if goal["met"] else "missed")


#: Of bars that stand beside each other.
LABELS: Final = {"ours": "openai_runs", "floor": "aiohttp alone"}


@frozen
class Palette:
    """Colours for one theme of the pages; the background is the page's own."""

    text: str
    grid: str
    bars: Mapping[str, str]


LIGHT: Final = Palette(
    text="#0f172a",
    grid="#cbd5e1",
    bars={"ours": "#0f766e", "floor": "#94a3b8", "met": "#0f766e", "missed": "#be123c"},
)
DARK: Final = Palette(
    text="#f1f5f9",
    grid="#475569",
    bars={"ours": "#2dd4bf", "floor": "#94a3b8", "met": "#2dd4bf", "missed": "#fb7185"},
)


def draw(palette: Palette, bars: Sequence[Bar], title: str, place: Path, *, goal: float | None = None) -> None:
    """Draw horizontal bars as SVG; those of one name stand below one another.

    Args:
        palette: Of the theme.
        bars: From the top.
        title: Below the picture, what the axis is.
        place: The file.
        goal: Where bars begin, on a logarithmic axis then; else at nothing.
    """
    import matplotlib as mpl  # here, so that tables need none of it

    mpl.use("svg")
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(bar.name for bar in bars))
    kinds = ["ours", "floor"] if goal is None else []  # one below the other
    thick = 0.8 / max(len(kinds), 1)
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "performance", "font.size": 11, "text.color": palette.text}
    with mpl.rc_context(settings):
        figure, axes = plt.subplots(figsize=(5.5, 0.36 * len(names) * (1.3 if kinds else 1) + 0.9))
        axes.set_axisbelow(True)
        axes.grid(axis="x", color=palette.grid, linewidth=0.5)
        if goal is not None:
            axes.set_xscale("log")
            axes.axvline(goal, color=palette.text, linewidth=1)
        for bar in bars:
            row = names.index(bar.name) + ((kinds.index(bar.kind) - 0.5) * thick if kinds else 0)
            start = goal or 0
            axes.barh(row, bar.length - start, thick * 0.9, left=start, color=palette.bars[bar.kind])
            said = f"{LABELS[bar.kind]} {bar.length:.1%}" if kinds else number(bar.length)
            away, side = (4, "left") if bar.length >= start else (-4, "right")
            axes.annotate(said, (bar.length, row), (away, 0), textcoords="offset points", ha=side, va="center", size=9)
        axes.set_yticks(range(len(names)), [name.replace("`", "") for name in names])
        axes.invert_yaxis()
        axes.set_xlabel(title, color=palette.text)
        axes.tick_params(which="both", colors=palette.text, length=0)
        axes.xaxis.set_major_formatter("{x:g}" if goal is not None else lambda share, _: f"{share:.0%}")
        axes.spines[:].set_visible(False)
        axes.margins(x=0.2, y=0.02)
        if goal is None:
            axes.set_xlim(left=0)
        figure.savefig(place, transparent=True, bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)


def texts(told: Report) -> dict[str, str]:
    """What the page includes, by the name of its file."""
    tables = {f"performance-{name}.md": part(told, name) for name in PARTS}
    return tables | {
        "performance-machine.md": machine(told),
        "performance-goals.md": goals(told),
        "performance-losses.md": losses(told),
    }


def write(app: Any) -> None:
    """Put tables and pictures where the page finds them."""
    folder, told = Path(app.srcdir) / "_build", json.loads(FIGURES.read_text("utf-8"))
    folder.mkdir(exist_ok=True)
    for name, text in texts(told).items():
        (folder / name).write_text(text, "utf-8")
    for theme, palette in ("light", LIGHT), ("dark", DARK):
        costs, reached = list(peer_bars(told)), list(goal_bars(told))
        draw(palette, costs, "CPU, as a share of openai-python's", folder / f"performance-peers-{theme}.svg")
        place = folder / f"performance-goals-{theme}.svg"
        draw(
            palette, reached, "how many times the goal: met to the left of 1, missed to the right of it", place, goal=1
        )


def setup(app: Any) -> dict[str, Any]:
    """Take part in a Sphinx build."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
