"""Goals of the benchmark: what is met and what is missed is judged from the figures alone."""

from tests.bench.figures import Figure, in_rounds, report
from tests.bench.goals import GOALS, table, verdicts
from tests.bench.measures import MEASURES


def outcomes(**figures: dict[str, float]) -> dict[tuple[str, str], str]:
    told = verdicts({name.replace("_", " "): figure for name, figure in figures.items()})
    return {(verdict.figure, verdict.field): verdict.outcome for verdict in told}


def test_every_goal_is_of_a_measure():
    """No row of the table can stay empty because of a slip in a name."""
    assert {goal.figure for goal in GOALS} <= set(MEASURES)
    assert len({(goal.figure, goal.field) for goal in GOALS}) == len(GOALS)


def test_a_goal_is_met_or_missed():
    """At the bound it is met. How far from it is a share of the goal, or how many times it from twice on."""
    found = outcomes(
        get_one={"to_floor": 1.0, "to_openai": 0.25},
        get_many={"to_floor": 0.68},
        list={"to_floor": 4.62},
        follower_memory={"ours": 16.0},
    )
    assert found["get one", "to_floor"] == "met by 0%"
    assert found["get one", "to_openai"] == "missed: 2.0 times the goal"
    assert found["get many", "to_floor"] == "met by 20%"
    assert found["list", "to_floor"] == "missed by 10%"
    assert found["follower memory", "ours"] == "missed: 4.0 times the goal"
    assert found["stream burst", "to_floor"] == "not measured"


def test_more_is_better_for_some():
    """Of runs a second there are to be at least so many; what is missing is a share of the goal."""
    assert outcomes(runs_a_second={"ours": 700})["runs a second", "ours"] == "missed by 30%"
    assert outcomes(runs_a_second={"ours": 1250})["runs a second", "ours"] == "met by 25%"


def test_ratios_are_medians_of_the_rounds():
    """A round in which the machine was slow says nothing about the ratio."""
    figure = in_rounds([1.0, 20.0, 3.0], [1.0, 10.0, 6.0])
    assert figure == Figure(ours=3.0, floor=6.0, openai=None, to_floor=1.0, to_openai=None)


def test_a_report_has_figures_goals_machine_and_versions():
    """What is written of a measurement says where it was taken; figures without a number are left out."""
    told = report({"get one": Figure(123.456, 100.0, to_floor=1.23456)}, form="quick", uvloop=False, load=0.123)
    assert told["form"] == "quick"
    assert told["machine"]["load"] == 0.12
    assert set(told["versions"]) >= {"python", "openai_runs", "aiohttp", "sqlite"}
    assert "uvloop" not in told["versions"]
    numbers = {"ours": 123.5, "floor": 100.0, "to_floor": 1.235}
    assert told["figures"]["get one"] == {"part": "client", "name": MEASURES["get one"].name, "unit": "µs"} | numbers
    assert len(told["goals"]) == len(GOALS)
    assert told["goals"][0]["outcome"] == "missed by 24%"


def test_the_table_has_a_row_for_each_goal():
    """Also for those that were not measured."""
    assert table(verdicts({})).row_count == len(GOALS)
