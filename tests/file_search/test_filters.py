"""Filters by attributes: what they let pass, and which are refused."""

import pytest

from openai_runs.file_search.filters import made

FILE = {"author": "Keth", "year": 2021, "rate": 0.5, "draft": False}


def compare(type, key, value):
    return {"type": type, "key": key, "value": value}


@pytest.mark.parametrize(
    ("filter", "passes"),
    [
        (compare("eq", "author", "Keth"), True),
        (compare("eq", "author", "keth"), False),
        ({"key": "author", "value": "Keth"}, True),  # `eq` is the default
        (compare("eq", "year", 2021.0), True),
        (compare("eq", "year", "2021"), False),
        (compare("eq", "draft", False), True),
        (compare("eq", "draft", 0), False),
        (compare("eq", "missing", "x"), False),
        (compare("ne", "author", "Keth"), False),
        (compare("ne", "author", "Ilse"), True),
        (compare("ne", "missing", "x"), True),
        (compare("gt", "year", 2020), True),
        (compare("gt", "year", 2021), False),
        (compare("gte", "year", 2021), True),
        (compare("lt", "rate", 1), True),
        (compare("lt", "rate", 0.5), False),
        (compare("lte", "rate", 0.5), True),
        (compare("gt", "author", "Ilse"), True),
        (compare("gt", "author", 5), False),
        (compare("gt", "missing", 5), False),
        (compare("in", "author", ["Ilse", "Keth"]), True),
        (compare("in", "author", []), False),
        (compare("in", "year", ["2021"]), False),
        (compare("in", "missing", ["x"]), False),
        (compare("nin", "author", ["Ilse"]), True),
        (compare("nin", "author", ["Keth"]), False),
        (compare("nin", "missing", ["x"]), True),
        ({"type": "and", "filters": [compare("eq", "year", 2021), compare("eq", "author", "Keth")]}, True),
        ({"type": "and", "filters": [compare("eq", "year", 2021), compare("eq", "author", "Ilse")]}, False),
        ({"type": "or", "filters": [compare("eq", "year", 1), compare("eq", "author", "Keth")]}, True),
        ({"type": "or", "filters": [compare("eq", "year", 1), {"type": "and", "filters": []}]}, True),
        ({"type": "or", "filters": []}, False),
    ],
)
def test_what_passes(filter, passes):
    """Each comparison does what it says, and values of different types are different."""
    assert made(filter)(FILE) is passes


def nested(levels):
    filter = compare("eq", "a", 1)
    for _ in range(levels):
        filter = {"type": "and", "filters": [filter]}
    return filter


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        ([], "filters must be an object"),
        ({"type": "xor", "key": "a", "value": 1}, "filters.type must be eq, ne, .* got 'xor'"),
        ({"type": None, "key": "a", "value": 1}, "filters.type must be"),
        ({"type": "eq", "value": 1}, "filters.key must be a string"),
        (compare("eq", "a", [1]), "filters.value must not be an array"),
        (compare("nin", "a", 1), "filters.value must be an array"),
        ({"type": "and"}, "filters.filters must be an array"),
        ({"type": "or", "filters": [nested(0), 5]}, r"filters.filters\[1\] must be an object"),
        (nested(17), "is nested more than 16 levels deep"),
        ({"type": "or", "filters": [nested(0)] * 501}, "filters has more than 500 comparisons"),
    ],
)
def test_what_is_refused(filter, message):
    """An invalid filter is refused, and the message says where it is wrong."""
    with pytest.raises(ValueError, match=message):
        made(filter)


def test_a_deep_filter():
    """As many levels as are allowed."""
    assert made(nested(16))({"a": 1})
