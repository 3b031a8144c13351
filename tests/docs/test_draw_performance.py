"""The page about performance shows what the benchmark has written, and no other figure."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from attrs import asdict

from docs.draw_performance import FIGURES, PARTS, WHY, Bar, goal_bars, goals, losses, machine, part, peer_bars, texts
from tests.bench.goals import GOALS, verdicts
from tests.bench.measures import MEASURES

PAGE = Path(__file__).parents[2] / "docs/explanation/performance.md"


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    return json.loads(FIGURES.read_text("utf-8"))


def report(**of_machine: Any) -> dict[str, Any]:
    """One made up, of two figures that have goals."""
    figures = {
        "get one": {"part": "client", "name": "a `GET`: CPU", "unit": "µs", "ours": 123.4, "floor": 100.0}
        | {"openai": 1000.0, "to_floor": 1.234, "to_openai": 0.1234},
        "runs a second": {"part": "server", "name": "runs", "unit": "a second", "ours": 1250.0},
    }
    where = {"cores": 2, "processor": "A CPU", "system": "Linux x86_64", "load": 0.1} | of_machine
    versions = {"python": "CPython 3.11.7", "aiohttp": "3.14.5"}
    judged = [asdict(verdict) for verdict in verdicts(figures)]
    return {"taken": "2026-01-01", "form": "full", "machine": where, "versions": versions} | {
        "figures": figures,
        "goals": judged,
    }


def test_the_page_includes_all_that_is_written_and_has_no_table_of_its_own(told):
    """Page and benchmark cannot disagree: each table of the page is what the script makes of the kept figures."""
    page = PAGE.read_text("utf-8")
    assert sorted(re.findall(r"\{include\} \.\./_build/(\S+)", page)) == sorted(texts(told))
    assert not re.search(r"^\|", page, re.MULTILINE)
    assert not re.search(r"\d (µs|ms|KB)\b", page.replace("1.6 KB of JSON", ""))


def test_every_kept_figure_is_shown_as_it_was_measured(told):
    """Name and number of each figure are in exactly one table, and those of each goal in theirs."""
    tables = "".join(part(told, name) for name in PARTS)
    for figure in told["figures"].values():
        (row,) = [line for line in tables.splitlines() if line.startswith(f"| {figure['name']} |")]
        shown = [cell.strip().replace(",", "") for cell in row.split("|")[2:-1]]
        if figure["part"] != "counted":
            assert shown.pop(0) == figure["unit"]
        numbers = [figure[field] for field in ("ours", "floor", "openai", "to_floor", "to_openai") if field in figure]
        assert [float(cell) for cell in shown if cell] == pytest.approx(numbers, rel=0.006)
    assert goals(told).count("\n") == len(GOALS) + 2


def test_the_kept_figures_are_judged_by_the_goals_of_today(told):
    """A goal or a name that is changed, or a figure that is edited by hand, shows here."""
    assert told["goals"] == [asdict(verdict) for verdict in verdicts(told["figures"])]
    assert {key: (f["part"], f["name"], f["unit"]) for key, f in told["figures"].items()} == {
        key: (m.part, m.name, m.unit) for key, m in MEASURES.items() if key in told["figures"]
    }


def test_the_kept_figures_are_of_all_measures(told):
    """The quick form, or a part of it, is not what the page shows."""
    assert told["form"] == "full"
    assert list(told["figures"]) == list(MEASURES)


def test_a_part_shows_the_columns_in_which_there_is_something():
    """Figures without a peer make a table without one."""
    made = report()
    assert part(made, "client").splitlines() == [
        "|  | unit | openai_runs | floor | openai-python | to the floor | to openai-python |",
        "| --- | --- | --: | --: | --: | --: | --: |",
        "| a `GET`: CPU | µs | 123 | 100 | 1,000 | 1.23 | 0.123 |",
    ]
    assert part(made, "server").splitlines()[0] == "|  | unit | openai_runs |"


def test_what_is_lost_has_its_reason():
    """A goal that is missed is named with why; if none is, that is said."""
    made = report()
    assert losses(made) == f"- **a `GET`: CPU**: 1.23, where the goal is at most 1 times the floor. {WHY['get one']}\n"
    assert set(WHY) == {goal.figure for goal in GOALS}
    assert losses(made | {"goals": []}).startswith("Every goal")


def test_the_machine_and_whether_it_was_idle():
    """A reader learns where figures come from, and which of them to doubt."""
    assert machine(report()).endswith(
        "CPython 3.11.7, aiohttp 3.14.5; loopback without TLS, the client on asyncio's own event loop.\n"
    )
    assert "The machine was not idle: its load was 4" in machine(report(load=4.0))
    assert "the quick form" in machine(report() | {"form": "quick"})
    assert "on uvloop" in machine(report() | {"versions": {"python": "CPython", "uvloop": "1"}})


def test_bars_of_both_pictures():
    """One shows shares of openai-python's CPU, the other how many times a goal each measure is."""
    made = report()
    assert list(peer_bars(made)) == [Bar("a `GET`", 0.1234, "ours"), Bar("a `GET`", 0.1, "floor")]
    assert [(bar.length, bar.kind) for bar in goal_bars(made)] == [(1.234, "missed"), (0.9872, "met"), (0.8, "met")]
