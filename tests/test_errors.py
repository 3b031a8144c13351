"""The tree of errors: which class for which failure, and what its message says."""

import pickle

import attrs
import pytest

from openai_runs import errors, load
from openai_runs.errors import (
    AnswerError,
    AuthenticationError,
    BackendError,
    BadRequestError,
    ConflictError,
    FileError,
    MissingExtraError,
    NotFoundError,
    OpenAIRunsError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ResponseError,
    RunActionRequiredError,
    RunCancelledError,
    RunDeadlineError,
    RunError,
    RunExpiredError,
    RunFailedError,
    RunIncompleteError,
    RunStuckError,
    ServerError,
    StoreError,
    ToolError,
    TransportError,
    UnsupportedEndpointError,
    WorkerLostError,
    response_error_class,
    run_error,
    snippet,
)
from openai_runs.models.run import LastError, Run, RunIncompleteDetails, RunStatus
from openai_runs.models.tool import FunctionCall, FunctionToolCall
from tests.samples import EXAMPLES

RUN = load((EXAMPLES / "objects/RunObject.json").read_bytes(), Run)
CALL = FunctionToolCall(id="call_1", function=FunctionCall(name="f", arguments="{}"))
ENDED = "run run_abc123 on thread_abc123 ended"


def test_all_are_ours():
    """One `except` catches all errors of this library, and each branch stands for who has to act."""
    classes = [getattr(errors, name) for name in errors.__all__]
    assert all(issubclass(cls, OpenAIRunsError) for cls in classes)
    branches = {
        TransportError,
        ResponseError,
        ProtocolError,
        RunError,
        AnswerError,
        ToolError,
        BackendError,
        FileError,
        StoreError,
        MissingExtraError,
        WorkerLostError,
    }
    assert {cls for cls in classes if cls.__bases__[0] is OpenAIRunsError} == branches
    assert issubclass(UnsupportedEndpointError, NotFoundError)
    assert issubclass(RunDeadlineError, TimeoutError)
    assert issubclass(RunStuckError, TimeoutError)
    assert issubclass(MissingExtraError, ModuleNotFoundError)


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (409, ConflictError),
        (418, ResponseError),
        (422, BadRequestError),
        (429, RateLimitError),
        (500, ServerError),
        (503, ServerError),
        (302, ResponseError),
    ],
)
def test_a_class_for_each_status(status, cls):
    """Each HTTP status has its error class."""
    assert response_error_class(status) is cls


@pytest.mark.parametrize(
    ("run", "cls", "text"),
    [
        (
            attrs.evolve(RUN, status=RunStatus.FAILED, last_error=LastError(code="server_error", message="oh")),
            RunFailedError,
            f"{ENDED} failed: server_error: oh",
        ),
        (attrs.evolve(RUN, status=RunStatus.FAILED), RunFailedError, f"{ENDED} failed"),
        (
            attrs.evolve(RUN, status=RunStatus.CANCELLED),
            RunCancelledError,
            f"{ENDED} cancelled",
        ),
        (
            attrs.evolve(RUN, status=RunStatus.EXPIRED),
            RunExpiredError,
            f"{ENDED} expired: it did not end before expires_at; waiting for tool outputs counts, too",
        ),
        (
            attrs.evolve(
                RUN,
                status=RunStatus.INCOMPLETE,
                incomplete_details=RunIncompleteDetails(reason="max_completion_tokens"),
            ),
            RunIncompleteError,
            f"{ENDED} incomplete: max_completion_tokens",
        ),
        (attrs.evolve(RUN, status=RunStatus("lost")), RunError, f"{ENDED} lost"),
    ],
)
def test_how_a_run_ended(run, cls, text):
    """The error has the run as an attribute, and its text says why the run ended."""
    error = run_error(run)
    assert type(error) is cls
    assert str(error) == text
    assert error.run is run


@pytest.mark.parametrize(
    "error",
    [
        TransportError("refused", maybe_done=False),
        ProtocolError("not a Run", paths=("expected str @ $.id",), status=200, body="{}"),
        RateLimitError("no", status=429, message="slow down", code="c", type="t", param="p", request_id="r", body="b"),
        ResponseError("no", status=None, headers={"x-request-id": "r"}),
        RunFailedError("run failed", run=RUN),
        RunActionRequiredError("run waits", run=RUN),
        ToolError("tool failed", tool_call=CALL),
        AnswerError("it does not fit", text="{}", refusal="no"),
    ],
)
def test_errors_are_carried_anywhere(error):
    """An error survives pickling with its text and all its attributes."""
    carried = pickle.loads(pickle.dumps(error))
    assert type(carried) is type(error)
    assert str(carried) == str(error)
    assert vars(carried) == vars(error)


def test_a_snippet_fits_a_message():
    """Short bodies are shown completely; of long ones, the beginning and the length."""
    assert snippet("short") == "short"
    assert snippet(b"\xff\xfe") == "\ufffd\ufffd"
    assert snippet("x" * 400) == "x" * 300 + "… (400 characters)"
    assert snippet("abcdef", 3) == "abc… (6 characters)"
