"""`WorkOptions`: what was left out has its default, and what is wrong is refused by its name."""

from typing import Any

import pytest

from openai_runs.batch.durable import WorkOptions
from openai_runs.batch.durable.options import WorkSettings


def test_each_option():
    """There is a setting for each, and no other."""
    assert [field.name for field in WorkSettings.__attrs_attrs__] == list(WorkOptions.__annotations__)
    assert WorkSettings().workers == 8


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"workers": 0}, "workers must be"),
        ({"at_once": 7}, "at_once must be"),
        ({"deadline": -1.0}, "deadline must be"),
    ],
)
def test_what_is_out_of_range(options: dict[str, Any], text: str):
    """The error names it."""
    with pytest.raises(ValueError, match=text):
        WorkSettings(**options)


def test_what_there_is_not():
    """A misspelt option is no option."""
    options: Any = {"worker": 3}
    with pytest.raises(TypeError, match="worker"):
        WorkSettings(**options)
