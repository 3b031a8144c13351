"""Models in pydantic's models and in FastAPI's endpoints."""

import json
import subprocess
import sys
from typing import Annotated, Any

import jsonschema_rs
import pytest
from fastapi import Body, FastAPI
from pydantic import BaseModel, TypeAdapter, ValidationError

from openai_runs import Run, Thread, dump, load
from openai_runs.models.page import Page
from openai_runs.models.run_step import RunStep
from tests.samples import EXAMPLES

TEXT = (EXAMPLES / "objects/RunObject.json").read_bytes()
BODY: dict[str, Any] = json.loads(TEXT) | {"new_in_2030": [1]}
RUN = load(BODY, Run)


class Answer(BaseModel):
    run: Run
    before: Page[Run] | None = None


def test_a_model_is_a_field() -> None:
    """JSON becomes the model, and the model the JSON that it came as, unknown fields included."""
    answer = Answer.model_validate_json(json.dumps({"run": BODY, "before": {"data": [BODY]}}))
    assert answer.run == RUN
    assert answer.before
    assert answer.before.data == (RUN,)
    assert answer.model_dump()["run"] == dump(RUN) == BODY
    assert Answer.model_validate_json(answer.model_dump_json()) == answer


def test_a_model_that_is_there_stays() -> None:
    """An object is taken as it is, without a copy."""
    assert Answer(run=RUN).run is RUN


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({**BODY, "id": 1}, r"not a Run: expected str, got int 1 @ \$\.id"),
        ([BODY], "not a Run: expected Run or a JSON object"),
        (load({"id": "t", "created_at": 0}, Thread), "expected Run or a JSON object"),
    ],
)
def test_what_does_not_fit_is_an_error_of_pydantic(given: Any, message: str) -> None:
    """The error names the field, and each wrong place in it."""
    with pytest.raises(ValidationError, match=message) as caught:
        Answer.model_validate({"run": given})
    assert [error["loc"] for error in caught.value.errors()] == [("run",)]


@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_json_schema_has_the_fields(mode: Any) -> None:
    """It is a definition of its own, and takes what `dump` writes."""
    schema = Answer.model_json_schema(mode=mode)
    run = schema["$defs"]["Run"]
    assert schema["properties"]["run"] == {"$ref": "#/$defs/Run"}
    assert run["title"] == "Run"
    assert run["description"].startswith("One execution of an assistant on a thread.")
    assert run["required"] == ["id", "created_at", "assistant_id", "thread_id", "status"]
    assert run["properties"]["created_at"] == {"type": "number", "description": "Unix seconds"}
    assert "enum" not in run["properties"]["status"]  # a later version of the API may have others
    assert schema["$defs"]["Page_Run_"]["properties"]["data"]["items"]["title"] == "Run"
    assert jsonschema_rs.is_valid(schema, {"run": BODY, "before": dump(Page[Run](data=(RUN,)))})
    assert not jsonschema_rs.is_valid(schema, {"run": {**BODY, "id": 1}})


def test_json_schema_of_a_step_takes_the_example() -> None:
    """Unions, literals and free-form JSON in it allow what the API sends."""
    body = json.loads((EXAMPLES / "objects/RunStepObject.json").read_bytes())
    assert jsonschema_rs.is_valid(TypeAdapter(RunStep).json_schema(), dump(load(body, RunStep)))


async def _call(app: FastAPI, path: str, body: bytes) -> tuple[int, Any]:
    """One request, as a server passes it to the app."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "http_version": "1.1"}
    await app({**scope, "headers": [(b"content-type", b"application/json")]}, receive, send)
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent))


@pytest.mark.anyio
async def test_an_endpoint_takes_and_returns_models() -> None:
    """A run comes as JSON and goes as JSON; what is no run is refused with 422."""
    app = FastAPI()

    @app.post("/page")
    async def page(run: Annotated[Run, Body()]) -> Page[Run]:
        return Page[Run](data=(run,), has_more=False)

    assert await _call(app, "/page", json.dumps(BODY).encode()) == (200, dump(Page[Run](data=(RUN,), has_more=False)))
    status, answer = await _call(app, "/page", b'{"id": 1}')
    assert status == 422
    assert "expected str, got int 1 @ $.id" in answer["detail"][0]["msg"]
    assert {"Run", "Page_Run_"} <= app.openapi()["components"]["schemas"].keys()


def test_pydantic_is_not_imported() -> None:
    """Models work where it is not installed, and only pydantic pays for its schemas."""
    code = (
        "import sys; sys.modules['pydantic'] = sys.modules['pydantic_core'] = None;"
        "from openai_runs import Run, Session, load;"
        "print('openai_runs._wire.pydantic_schemas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"False"
