"""The options of following a run, apart from the parameters of the request."""

import pytest

from openai_runs.following.options import check_on_exit, split_options
from openai_runs.following.polling import Polling


def test_split_options():
    """Each parameter goes one way; the caller's own mapping is not changed."""
    params = {"assistant_id": "asst_1", "deadline": None, "polling": Polling(), "metadata": {}, "on_exit": "cancel"}
    body, options = split_options(params)
    assert body == {"assistant_id": "asst_1", "metadata": {}}
    assert options == {"deadline": None, "polling": Polling(), "on_exit": "cancel"}
    assert len(params) == 5


@pytest.mark.parametrize("wrong", ["Cancel", "", None, True])
def test_on_exit(wrong):
    """A run must not be left running because of a typing error."""
    check_on_exit("leave")
    check_on_exit("cancel")
    with pytest.raises(ValueError, match="on_exit must be 'leave' or 'cancel'"):
        check_on_exit(wrong)
