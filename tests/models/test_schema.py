"""Whatever the API document allows is loaded, and dumped unchanged."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openai_runs import dump, load
from openai_runs._wire.parameters import check_params
from tests.samples import MODELS, PARAMS
from tests.strategies import bodies, unknown_parts

pytestmark = pytest.mark.unmeasured

unhurried = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.mark.parametrize("schema", MODELS)
@unhurried
@given(st.data())
def test_valid_bodies_survive(schema, data):
    """Every valid body loads into typed objects and is dumped unchanged: unknown, absent and null fields, too."""
    body = data.draw(bodies(schema))
    model = load(json.dumps(body), MODELS[schema])
    assert dump(model) == body
    assert not list(unknown_parts(model))
    assert load(dump(model), MODELS[schema]) == model


@pytest.mark.parametrize("schema", sorted(PARAMS.keys() - {"SubmitToolOutputsRunRequest"}))  # we want a tool_call_id
@unhurried
@given(st.data())
def test_valid_requests_are_sent_as_they_are(schema, data):
    """Every request body that the document allows passes our checks, and is sent unchanged."""
    body = data.draw(bodies(schema, unknown=False))  # we refuse names that we do not know: nearly all are typing errors
    body.pop("stream", None)  # not a parameter: methods of their own stream
    for name in ("assistant_id", "model"):  # not to be empty, which goes without saying
        if body.get(name) == "":
            body[name] = "x"
    for part in (body.get("tool_choice"), body.get("response_format"), *(body.get("tools") or ())):
        match part:  # the document states in words only which names a function or a schema can have
            case {"function": named} | {"json_schema": named}:
                named["name"] = "lookup"
    check_params(body, PARAMS[schema])
    assert dump(body) == body
