"""IDs look like the hosted API's."""

import re

from openai_runs.engine.ids import new_id


def test_looks_like_the_api_s():
    """A prefix and 24 characters; no two alike."""
    ids = {new_id("run") for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"run_[0-9A-Za-z]{24}", id) for id in ids)
