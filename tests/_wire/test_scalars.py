"""Single JSON values: which Python value each becomes, and what is refused."""

from datetime import UTC, datetime

import pytest

from openai_runs._wire import scalars
from openai_runs.models.run import RunStatus


@pytest.mark.parametrize(
    ("load", "value", "loaded"),
    [
        (scalars.load_str, "", ""),
        (scalars.load_bool, False, False),
        (scalars.load_int, 7, 7),
        (scalars.load_int, 1.0, 1),  # an integer in JSON Schema
        (scalars.load_int, 1e300, int(1e300)),
        (scalars.load_float, 7, 7),
        (scalars.load_float, 0.5, 0.5),
        (scalars.load_mapping, {"a": 1}, {"a": 1}),
    ],
)
def test_what_fits(load, value, loaded):
    """The value comes back, of the type that the field has."""
    result = load(value)
    assert (result, type(result)) == (loaded, type(loaded))


@pytest.mark.parametrize(
    ("load", "value", "message"),
    [
        (scalars.load_str, 1, "expected str, got int 1"),
        (scalars.load_str, None, "expected str, got NoneType None"),
        (scalars.load_bool, 1, "expected bool, got int 1"),
        (scalars.load_int, True, "expected int, got bool True"),  # though a bool is an int in Python
        (scalars.load_int, 1.5, "expected int, got float 1.5"),
        (scalars.load_int, "1", "expected int, got str '1'"),
        (scalars.load_float, True, "expected number, got bool True"),
        (scalars.load_mapping, [], "expected object, got list []"),
        (scalars.load_datetime, True, "expected Unix seconds, got bool True"),
        (scalars.load_datetime, "2026", "expected Unix seconds, got str '2026'"),
    ],
)
def test_what_does_not_fit(load, value, message):
    """The error says which type is expected, and which value came."""
    with pytest.raises(TypeError) as caught:
        load(value)
    assert str(caught.value) == message


def test_a_long_value_is_shortened():
    """An error does not repeat a whole body."""
    with pytest.raises(TypeError) as caught:
        scalars.load_int("x" * 10_000)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize(
    ("number", "when"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (-86400, datetime(1969, 12, 31, tzinfo=UTC)),
        (1.5, datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)),
        (scalars.MAX_SECONDS - 1, datetime(5138, 11, 16, 9, 46, 39, tzinfo=UTC)),
        (scalars.MAX_SECONDS, datetime(1973, 3, 3, 9, 46, 40, tzinfo=UTC)),  # milliseconds
    ],
)
def test_times(number, when):
    """Seconds, or milliseconds where seconds would be beyond the year 5138; dumped as they came."""
    loaded = scalars.load_datetime(number)
    assert loaded == when
    assert scalars.dump_datetime(loaded) == number


def test_words():
    """An unknown word makes an unknown member, and no error."""
    assert scalars.load_open_enum("queued", RunStatus) is RunStatus.QUEUED
    assert scalars.load_open_enum("new_in_2030", RunStatus) == "new_in_2030"
    with pytest.raises(TypeError):
        scalars.load_open_enum(None, RunStatus)
