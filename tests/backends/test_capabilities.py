"""What a kind of endpoint does not support is refused, and the table says so."""

from typing import Any

import pytest

from openai_runs.backends import ScriptedBackend
from openai_runs.backends.capabilities import FEATURES, Kind, table, unserved_window, unsupported
from openai_runs.backends.chat_completions import ChatCompletionsBackend
from openai_runs.backends.local_model import LocalModelBackend
from openai_runs.backends.model_backend import ModelBackend, ModelRequest, Unsupported
from openai_runs.backends.responses import ResponsesBackend
from openai_runs.models.model import Unknown
from openai_runs.models.tool import (
    CodeInterpreterTool,
    FileSearchResources,
    FileSearchTool,
    FunctionName,
    NamedToolChoice,
    ToolResources,
)
from tests.backends.requests import WEATHER, a_request

STORE = ToolResources(file_search=FileSearchResources(vector_store_ids=("vs_1",)))
SEARCH = {"tools": (FileSearchTool(),), "tool_resources": STORE}
NAMED = NamedToolChoice(type="function", function=FunctionName(name="get_weather"))


@pytest.mark.parametrize(
    ("asked", "chat", "responses"),
    [
        ({}, None, None),
        ({"tools": (WEATHER,)}, None, None),
        ({"tools": (WEATHER, CodeInterpreterTool())}, "tools[1]", None),
        (SEARCH, "tools[0]", None),
        ({"tools": (Unknown("browser", {"type": "browser"}),)}, "tools[0]", "tools[0]"),
        ({"response_format": Unknown("xml", {"type": "xml"})}, "response_format", "response_format"),
        ({"tool_choice": "none"}, None, None),
        ({"tool_choice": "required"}, "tool_choice", "tool_choice"),
        ({"tool_choice": "required", "tools": (WEATHER,)}, None, None),
        ({"tool_choice": NAMED, "tools": (WEATHER,)}, None, None),
        ({"tool_choice": NamedToolChoice(type="function"), "tools": (WEATHER,)}, "tool_choice", "tool_choice"),
        ({"tool_choice": NamedToolChoice(type="file_search"), **SEARCH}, "tools[0]", None),
        ({"tool_choice": NamedToolChoice(type="code_interpreter"), **SEARCH}, "tools[0]", "tool_choice"),
        ({"tool_choice": "required", "tools": (FileSearchTool(),)}, "tools[0]", "tool_choice"),
    ],
)
def test_what_is_refused(asked: dict[str, Any], chat: str | None, responses: str | None) -> None:
    request = a_request(**asked)
    found = [backend("http://127.0.0.1").refuse(request) for backend in (ChatCompletionsBackend, ResponsesBackend)]
    assert [refusal and refusal.param for refusal in found] == [chat, responses]


def test_a_refusal_names_parameter_and_backend() -> None:
    refusal = ChatCompletionsBackend("http://127.0.0.1").refuse(a_request(tools=(CodeInterpreterTool(),)))
    assert refusal == Unsupported(
        "tools[0]", "'tools[0]' asks for what ChatCompletionsBackend does not support: tools: code_interpreter."
    )


@pytest.mark.parametrize("kind", ["chat", "responses"])
def test_the_table_says_what_is_refused(kind: Kind) -> None:
    """A feature that is refused for a kind of endpoint says so in its column, last if the server can help."""
    for feature in FEATURES:
        says = getattr(feature, kind)
        assert says
        if kind in feature.refused:
            assert says.endswith("the run is refused")


@pytest.mark.parametrize(
    "backend",
    [
        ScriptedBackend(),
        ChatCompletionsBackend("https://api.openai.com/v1"),
        LocalModelBackend.__new__(LocalModelBackend),  # making one needs its package
        ResponsesBackend("http://127.0.0.1"),
    ],
)
def test_windows_that_a_backend_does_not_serve(backend: ModelBackend) -> None:
    """They are refused by name, with the backend, and with the one that serves them."""
    refusal = unserved_window("2h", backend)
    assert refusal is not None
    assert refusal.param == "completion_window"
    assert f"'completion_window' asks for what {type(backend).__name__} does not serve" in refusal.message
    assert "only ResponsesBackend does" in refusal.message
    assert unserved_window(None, backend) is None


def test_windows_that_a_backend_serves() -> None:
    openai = ResponsesBackend("https://api.openai.com/v1")
    assert [unserved_window(window, openai) for window in ("2h", "8h", None)] == [None] * 3
    assert unserved_window("24h", openai) is not None


def test_a_row_for_each_feature() -> None:
    rows = table().splitlines()[2:]
    assert len(rows) == len(FEATURES)
    assert all(row.count("|") == 4 for row in rows)


def test_what_is_asked_of_a_request_only() -> None:
    def nothing(request: ModelRequest) -> Unsupported | None:
        return unsupported(request, "chat", "X")

    assert nothing(a_request()) is None
