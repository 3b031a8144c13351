"""Limits of owners: whose they are, and how they are written."""

import pytest

from openai_runs.engine.limits import (
    UNLIMITED,
    WORDS,
    Limits,
    OwnerLimits,
    is_limit,
    read_limits,
    with_changes,
    written,
)

ALL = Limits(
    requests_per_minute=1,
    active_runs=2,
    tokens_per_day=3,
    stored_bytes=4 * 2**20,
    messages_per_thread=5,
    items_per_body=6,
)


@pytest.mark.parametrize("name", [word.field for word in WORDS.values()])
def test_a_limit_is_a_number_above_zero(name: str):
    """A mistake is refused where it is made, and not found when the limit is needed."""
    assert getattr(Limits(**{name: 7}), name) == 7
    assert getattr(UNLIMITED, name) is None
    with pytest.raises(ValueError, match=f"{name} must be at least 1: got 0"):
        Limits(**{name: 0})
    with pytest.raises(TypeError, match=f"{name} must be a whole number: got 1.5"):
        Limits(**{name: 1.5})


def test_owners_have_their_own_limits_or_those_of_all():
    """Those of an owner take the place of the others, until they are replaced."""
    own = Limits(active_runs=1)
    limits = OwnerLimits(ALL, {"anna": own})
    assert (limits.of("anna"), limits.of("bert"), limits.are_set) == (own, ALL, True)
    limits.replace({"bert": own})
    assert (limits.of("anna"), limits.of("bert")) == (ALL, own)
    assert not OwnerLimits(UNLIMITED, {"anna": Limits()}).are_set
    with pytest.raises(TypeError, match="must be Limits: got 5 for 'anna'"):
        limits.replace({"anna": 5})
    assert limits.of("bert") == own
    with pytest.raises(TypeError, match="limits must be Limits: got None"):
        OwnerLimits(None)


def test_limits_as_words():
    """What is written is read again as the same; megabytes are those of other options."""
    words = written(ALL)
    assert words == (
        "requests-per-minute=1",
        "active-runs=2",
        "tokens-per-day=3",
        "stored-mb=4",
        "messages-per-thread=5",
        "items-per-body=6",
    )
    assert with_changes(UNLIMITED, read_limits(words)) == ALL
    changes = read_limits(["tokens-per-day=none", "active-runs=9"])
    assert written(changes) == ("active-runs=9", "tokens-per-day=none")
    assert with_changes(ALL, changes).tokens_per_day is None
    assert with_changes(ALL, changes).requests_per_minute == 1


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["runs=5"], "there is no limit 'runs': expected one of requests-per-minute, active-runs,"),
        (["active-runs"], "the limit active-runs must be a whole number above 0, or none: got ''"),
        (["active-runs=0"], "above 0, or none: got '0'"),
        (["active-runs=-1"], "got '-1'"),
        (["active-runs=1.5"], "got '1.5'"),
        (["active-runs=²"], "got '²'"),
        (["active-runs=1" + "0" * 99], "got '10"),
        (["active-runs=1", "active-runs=none"], "the limit active-runs is there twice"),
    ],
)
def test_words_that_are_no_limits(words: list[str], problem: str):
    """The error names the limit, what it must be, and what it is."""
    with pytest.raises(ValueError, match=problem):
        read_limits(words)


def test_what_is_a_limit_among_other_words():
    """A label may have an equals sign, too: only the known names make a limit."""
    assert is_limit("active-runs=x")
    assert not is_limit("active-runs")
    assert not is_limit("team=active-runs")
