"""Wrong parameters are refused before anything is sent; the error names parameter, limit and value."""

from typing import Any

import pytest

from openai_runs._wire.parameters import check_params
from openai_runs.models.assistant import AssistantCreateParams, AssistantUpdateParams
from openai_runs.models.message import ImageUrl, ImageUrlContent, MessageCreateParams
from openai_runs.models.page import ListParams, MessageListParams
from openai_runs.models.run import (
    RunCreateParams,
    RunUpdateParams,
    ThreadRunCreateParams,
    ToolOutputsSubmitParams,
    TruncationStrategy,
)
from openai_runs.models.thread import ThreadCreateParams
from openai_runs.models.tool import (
    CodeInterpreterTool,
    FileSearchOptions,
    FileSearchTool,
    Function,
    FunctionTool,
    ToolOutput,
    ToolResources,
)
from openai_runs.toolbox import Toolbox

RUN = {"assistant_id": "asst_1"}
ASSISTANT = {"model": "m"}
MESSAGE = {"role": "user", "content": "hello"}
TOOL = FunctionTool(function=Function(name="f"))
PAIRS = {str(n): "v" for n in range(16)}


def toolbox_of(count: int) -> Toolbox:
    toolbox = Toolbox()
    for n in range(count):
        toolbox.tool(lambda: None, name=f"tool_{n}")
    return toolbox


def store(**sizes: Any) -> dict[str, Any]:
    """Tool resources with a vector store to create."""
    return {"file_search": {"vector_stores": [{"chunking_strategy": {"type": "static", "static": sizes}}]}}


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        (ListParams, {"limit": 0}, "limit must be 1 to 100: got 0"),
        (ListParams, {"limit": 101}, "limit must be 1 to 100: got 101"),
        (ListParams, {"limit": True}, "limit must be a number: got True"),
        (ListParams, {"order": "up"}, "order must be 'asc' or 'desc': got 'up'"),
        (ListParams, {"order": None}, "order must be 'asc' or 'desc': got None"),
        (ListParams, {"after": ""}, "after must not be empty: got ''"),
        (ListParams, {"before": None}, "before must be a string: got None"),
        (MessageListParams, {"run_id": ""}, "run_id must not be empty: got ''"),
        (RunCreateParams, {"assistant_id": ""}, "assistant_id must not be empty: got ''"),
        (RunCreateParams, RUN | {"temperature": 2.1}, "temperature must be 0 to 2: got 2.1"),
        (RunCreateParams, RUN | {"temperature": -0.1}, "temperature must be 0 to 2: got -0.1"),
        (RunCreateParams, RUN | {"temperature": float("nan")}, "temperature must be 0 to 2: got nan"),
        (RunCreateParams, RUN | {"temperature": "hot"}, "temperature must be a number: got 'hot'"),
        (RunCreateParams, RUN | {"top_p": 1.01}, "top_p must be 0 to 1: got 1.01"),
        (RunCreateParams, RUN | {"max_prompt_tokens": 255}, "max_prompt_tokens must be at least 256: got 255"),
        (RunCreateParams, RUN | {"max_completion_tokens": 0}, "max_completion_tokens must be at least 256: got 0"),
        (RunCreateParams, RUN | {"metadata": PAIRS | {"k": "v"}}, "metadata must have at most 16 pairs, has 17: got {"),
        (RunCreateParams, RUN | {"metadata": {"k" * 65: "v"}}, "metadata must have keys of at most 64 characters"),
        (RunCreateParams, RUN | {"metadata": {"k": "v" * 513}}, "metadata must have values of at most 512 characters"),
        (RunCreateParams, RUN | {"metadata": {"k": 1}}, "metadata must map strings to strings, has 'k': 1"),
        (RunCreateParams, RUN | {"metadata": [("k", "v")]}, "metadata must be a dict of strings: got [('k', 'v')]"),
        (RunCreateParams, RUN | {"tools": [TOOL] * 21}, "tools must have at most 20 items, has 21: got ["),
        (RunCreateParams, RUN | {"reasoning_effort": "huge"}, "reasoning_effort must be 'none' or 'minimal' or 'low'"),
        (RunCreateParams, RUN | {"completion_window": "24h"}, "completion_window must be '2h' or '8h': got '24h'"),
        (RunCreateParams, RUN | {"tool_choice": "maybe"}, "tool_choice must be 'none' or 'auto' or 'required': got"),
        (RunCreateParams, RUN | {"response_format": "xml"}, "response_format must be 'auto': got 'xml'"),
        (
            RunCreateParams,
            RUN | {"truncation_strategy": {"type": "last_messages", "last_messages": 0}},
            "truncation_strategy.last_messages must be at least 1: got 0",
        ),
        (
            RunCreateParams,
            RUN | {"truncation_strategy": TruncationStrategy(type="last_messages", last_messages=0)},
            "truncation_strategy.last_messages must be at least 1: got 0",
        ),
        (
            RunCreateParams,
            RUN | {"tools": [CodeInterpreterTool(), FunctionTool(function=Function(name="two words"))]},
            "tools[1].function.name must be 1 to 64 characters of a-z, A-Z, 0-9, _ and -: got 'two words'",
        ),
        (
            RunCreateParams,
            RUN | {"tools": [FileSearchTool(file_search=FileSearchOptions(max_num_results=51))]},
            "tools[0].file_search.max_num_results must be 1 to 50: got 51",
        ),
        (
            RunCreateParams,
            RUN | {"tools": [{"type": "function", "function": {"name": "two words"}}]},
            "tools[0].function.name must be 1 to 64 characters of a-z, A-Z, 0-9, _ and -: got 'two words'",
        ),
        (
            RunCreateParams,
            RUN | {"tools": [{"type": "file_search", "file_search": {"max_num_results": 51}}]},
            "tools[0].file_search.max_num_results must be 1 to 50: got 51",
        ),
        (
            RunCreateParams,
            RUN | {"response_format": {"type": "json_schema", "json_schema": {"name": ""}}},
            "response_format.json_schema.name must be 1 to 64 characters of a-z, A-Z, 0-9, _ and -: got ''",
        ),
        (
            RunCreateParams,
            RUN | {"additional_messages": [MESSAGE, {"role": "system", "content": ""}]},
            "additional_messages[1].role must be 'user' or 'assistant': got 'system'",
        ),
        (AssistantCreateParams, {"model": ""}, "model must not be empty: got ''"),
        (AssistantCreateParams, ASSISTANT | {"name": "n" * 257}, "name must have at most 256 characters, has 257"),
        (AssistantUpdateParams, {"description": "d" * 513}, "description must have at most 512 characters, has 513"),
        (AssistantUpdateParams, {"instructions": "i" * 256_001}, "instructions must have at most 256000 characters"),
        (AssistantUpdateParams, {"tools": [TOOL] * 129}, "tools must have at most 128 items, has 129"),
        (MessageCreateParams, {"role": "user", "content": []}, "content must have at least 1 item, has 0: got []"),
        (
            ThreadCreateParams,
            {"tool_resources": {"code_interpreter": {"file_ids": ["f"] * 21}}},
            "tool_resources.code_interpreter.file_ids must have at most 20 items, has 21",
        ),
        (
            ThreadCreateParams,
            {"tool_resources": store(max_chunk_size_tokens=99, chunk_overlap_tokens=1)},
            "vector_stores[0].chunking_strategy.static.max_chunk_size_tokens must be 100 to 4096: got 99",
        ),
        (
            ThreadRunCreateParams,
            RUN | {"thread": {"metadata": {"k": None}}},
            "thread.metadata must map strings to strings, has 'k': None",
        ),
    ],
)
def test_limits(kind: Any, params: dict[str, Any], message: str) -> None:
    """A value outside of its limit is a ValueError that names parameter, limit and value."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the text is compared below
        check_params(params, kind)
    assert message in str(caught.value)
    assert str(caught.value).endswith("; nothing was sent")


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        (ListParams, {"limit": 2.5}, "limit must be a whole number: got 2.5"),
        (RunCreateParams, RUN | {"instructions": 5}, "instructions must be a string: got 5"),
        (RunCreateParams, RUN | {"parallel_tool_calls": "yes"}, "parallel_tool_calls must be True or False: got 'yes'"),
        (RunCreateParams, RUN | {"tools": "f"}, "tools must be a list or tuple or a Toolbox: got 'f'"),
        (RunCreateParams, RUN | {"tools": {"type": "function"}}, "tools must be a list or tuple or a Toolbox: got {"),
        (RunCreateParams, RUN | {"tools": [None]}, "tools[0] must be FunctionTool or CodeInterpreterTool or "),
        (RunCreateParams, RUN | {"tools": [{"function": {"name": "f"}}]}, "missing parameter 'tools[0].type'; nothing"),
        (RunCreateParams, RUN | {"tools": [{"type": "function"}]}, "missing parameter 'tools[0].function'; nothing"),
        (RunCreateParams, RUN | {"tool_choice": 1}, "tool_choice must be 'none' or 'auto' or 'required' or "),
        (RunCreateParams, RUN | {"tool_choice": {"function": {"name": "f"}}}, "missing parameter 'tool_choice.type'"),
        (MessageCreateParams, {"role": "user", "content": None}, "content must be a string or a list or tuple: got"),
        (MessageCreateParams, {"role": "user", "content": ["hi"]}, "content[0] must be a dict or ImageFileContent or"),
        (MessageCreateParams, {"role": "user"}, "missing parameter 'content'; nothing was sent"),
        (MessageCreateParams, {"content": "x"}, "missing parameter 'role'; nothing was sent"),
        (ThreadCreateParams, {"messages": [7]}, "messages[0] must be a dict: got 7"),
        (ThreadCreateParams, {"messages": [{}]}, "missing parameter 'messages[0].content'"),
        (ThreadCreateParams, {"tool_resources": CodeInterpreterTool()}, "tool_resources must be ToolResources or a "),
        (ToolOutputsSubmitParams, {"tool_outputs": {}}, "tool_outputs must be a list or tuple: got {}"),
        (
            ToolOutputsSubmitParams,
            {"tool_outputs": [{"output": "x"}]},
            "missing parameter 'tool_outputs[0].tool_call_id",
        ),
        (RunCreateParams, {}, "missing parameter 'assistant_id'; nothing was sent"),
        (RunCreateParams, RUN | {"temprature": 1}, "unknown parameter 'temprature'; did you mean 'temperature'?"),
        (RunUpdateParams, {"color": 1}, "unknown parameter 'color'; known are metadata (nothing was sent)"),
        (RunCreateParams, RUN | {"thread": {}}, "unknown parameter 'thread'; "),
        (
            ThreadCreateParams,
            {"messages": [MESSAGE | {"rôle": 1}]},
            "unknown parameter 'messages[0].rôle'; did you mean",
        ),
        (ListParams, {"limit": [[]] * 50}, "limit must be a number: got [[], [], "),
        (
            RunCreateParams,
            RUN | {"tools": toolbox_of(21)},
            "tools must have at most 20 items, has 21: got Toolbox(tool_0",
        ),
        (
            ToolOutputsSubmitParams,
            {"tool_outputs": toolbox_of(1)},
            "tool_outputs must be a list or tuple: got Toolbox(",
        ),
    ],
)
def test_types_and_names(kind: Any, params: dict[str, Any], message: str) -> None:
    """A missing or unknown parameter, or one of a wrong type, is a TypeError; a typo gets a suggestion."""
    with pytest.raises((TypeError, ValueError)) as caught:
        check_params(params, kind)
    assert message in str(caught.value)
    assert "nothing was sent" in str(caught.value)
    assert len(str(caught.value)) < 340


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        (ListParams, {"limit": 1, "order": "asc", "after": "a", "before": "b"}),
        (RunCreateParams, RUN | dict.fromkeys(["model", "instructions", "tools", "temperature", "top_p", "metadata"])),
        (RunCreateParams, RUN | {"temperature": 0, "top_p": 1, "max_prompt_tokens": 256, "metadata": PAIRS}),
        (RunCreateParams, RUN | {"max_prompt_tokens": 256.0, "tool_choice": {"type": "file_search"}}),
        (RunCreateParams, RUN | {"tools": (TOOL, {"type": "of tomorrow"}), "tool_choice": "auto"}),
        (RunCreateParams, RUN | {"tools": toolbox_of(20)}),
        (AssistantCreateParams, ASSISTANT | {"tools": toolbox_of(0)}),
        (RunCreateParams, RUN | {"response_format": {"type": "of tomorrow"}, "truncation_strategy": None}),
        (AssistantCreateParams, ASSISTANT | {"tools": [TOOL] * 128, "name": "n" * 256, "reasoning_effort": None}),
        (ThreadCreateParams, {"tool_resources": ToolResources(), "messages": []}),
        (ThreadCreateParams, {"tool_resources": store(max_chunk_size_tokens=100, chunk_overlap_tokens=50)}),
        (MessageCreateParams, {"role": "user", "content": [{"type": "text", "text": ""}], "attachments": [{}]}),
        (MessageCreateParams, {"role": "user", "content": [ImageUrlContent(image_url=ImageUrl(url="u"))]}),
        (ToolOutputsSubmitParams, {"tool_outputs": (ToolOutput(tool_call_id="c", output=""), {"tool_call_id": "d"})}),
    ],
)
def test_what_the_api_takes_is_let_through(kind: Any, params: dict[str, Any]) -> None:
    """Values at the API document's limits are accepted, and so are tools of unknown types."""
    check_params(params, kind)


def test_a_misspelt_required_parameter() -> None:
    """A misspelt name is reported before the parameter that is missing because of it."""
    with pytest.raises(TypeError, match="unknown parameter 'asistant_id'; did you mean 'assistant_id'"):
        check_params({"asistant_id": "asst_1"}, RunCreateParams)
