"""Small valid request bodies, and the check that a body is refused."""

import pytest

from openai_runs.engine import ApiError
from openai_runs.server import validation

RUN = {"assistant_id": "asst_1"}
ASSISTANT = {"model": "m"}
MESSAGE = {"role": "user", "content": "Hi"}


def function(**fields):
    return {"type": "function", "function": {"name": "f"} | fields}


def refused(body, schema):
    with pytest.raises(ApiError) as caught:
        validation.check(body, schema)
    error = caught.value
    assert (error.status, error.type) == (400, "invalid_request_error")
    return error
