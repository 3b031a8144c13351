"""The API's limits: which values are accepted, and the messages for others."""

import pytest

from openai_runs.models.limits import ID, METADATA, NAME, Items, Length, OneOf, Range


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        (Range(0, 2), 0),
        (Range(0, 2), 2.0),
        (Range(256), 10**9),
        (Length(3), "abc"),
        (Length(3), ""),
        (ID, "x"),
        (Items(2), []),
        (Items(2), ("a", "b")),
        (Items(least=1), ["a"]),
        (OneOf(("asc", "desc")), "asc"),
        (METADATA, {}),
        (METADATA, {"k" * 64: "v" * 512}),
        (METADATA, {str(n): "" for n in range(16)}),
        (NAME, "get_weather-2"),
        (NAME, "x" * 64),
    ],
)
def test_what_keeps_to_a_limit(limit, value):
    """Both ends of a range are allowed."""
    assert limit.broken(value) is None


@pytest.mark.parametrize(
    ("limit", "value", "problem"),
    [
        (Range(0, 2), 2.1, "must be 0 to 2"),
        (Range(0, 2), -1e-9, "must be 0 to 2"),
        (Range(0, 2), float("nan"), "must be 0 to 2"),
        (Range(256), 255, "must be at least 256"),
        (Range(0, 2), "1", "must be a number"),
        (Range(0, 2), True, "must be a number"),
        (Length(3), "abcd", "must have at most 3 characters, has 4"),
        (Length(3), 5, "must be a string"),
        (ID, "", "must not be empty"),
        (Items(2), [1, 2, 3], "must have at most 2 items, has 3"),
        (Items(least=1), [], "must have at least 1 item, has 0"),
        (Items(least=2), [1], "must have at least 2 items, has 1"),
        (Items(2), 5, "must be a sequence"),
        (OneOf(("asc", "desc")), "up", "must be 'asc' or 'desc'"),
        (METADATA, [], "must be a dict of strings"),
        (METADATA, {str(n): "" for n in range(17)}, "must have at most 16 pairs, has 17"),
        (METADATA, {"a": 1}, "must map strings to strings, has 'a': 1"),
        (METADATA, {1: "a"}, "must map strings to strings, has 1: 'a'"),
        (METADATA, {"k" * 65: ""}, f"must have keys of at most 64 characters, {'k' * 65!r} has 65"),
        (METADATA, {"k": "v" * 513}, "must have values of at most 512 characters, 'k' has one of 513"),
        (NAME, "", "must be 1 to 64 characters of a-z, A-Z, 0-9, _ and -"),
        (NAME, "x" * 65, "must be 1 to 64 characters of a-z, A-Z, 0-9, _ and -"),
        (NAME, "get weather", "must be 1 to 64 characters of a-z, A-Z, 0-9, _ and -"),
        (NAME, "f\n", "must be 1 to 64 characters of a-z, A-Z, 0-9, _ and -"),
        (NAME, None, "must be 1 to 64 characters of a-z, A-Z, 0-9, _ and -"),
    ],
)
def test_what_breaks_a_limit(limit, value, problem):
    """The message says what is expected and what came."""
    assert limit.broken(value) == problem
