"""The options of following a run, apart from the parameters of the request."""

import pytest

from openai_runs.following.options import check_on_exit, hint_unanswered, split_options
from openai_runs.following.polling import Polling
from openai_runs.toolbox import Toolbox


def test_split_options():
    """Each parameter goes one way; the caller's own mapping is not changed."""
    params = {"assistant_id": "asst_1", "deadline": None, "polling": Polling(), "metadata": {}, "on_exit": "cancel"}
    body, options = split_options(params)
    assert body == {"assistant_id": "asst_1", "metadata": {}}
    assert options == {"deadline": None, "polling": Polling(), "on_exit": "cancel"}
    assert len(params) == 5


@pytest.mark.parametrize(
    ("params", "is_habit"),
    [
        ({"tools": Toolbox()}, True),
        ({"tools": Toolbox(), "toolbox": None}, True),
        ({"tools": Toolbox(), "toolbox": Toolbox()}, False),
        ({"tools": []}, False),
        ({}, False),
    ],
)
def test_a_toolbox_as_tools_only(params, is_habit):
    """Whoever passes definitions answers calls by hand; whoever passes a toolbox expects it to answer them."""
    assert bool(hint_unanswered(params)) is is_habit


@pytest.mark.parametrize("wrong", ["Cancel", "", None, True])
def test_on_exit(wrong):
    """A run must not be left running because of a typing error."""
    check_on_exit("leave")
    check_on_exit("cancel")
    with pytest.raises(ValueError, match="on_exit must be 'leave' or 'cancel'"):
        check_on_exit(wrong)
