"""`responses_body`: the body of a Responses request."""

from typing import Any

import pytest

from openai_runs.backends.conversation import NO_OUTPUT
from openai_runs.backends.model_backend import ModelRequest, Replay
from openai_runs.backends.replay import with_replay
from openai_runs.backends.responses_body import responses_body
from openai_runs.models.message import Attachment
from openai_runs.models.model import Unknown
from openai_runs.models.tool import (
    CodeInterpreterResources,
    CodeInterpreterTool,
    FileSearchOptions,
    FileSearchResources,
    FileSearchTool,
    Function,
    FunctionName,
    FunctionTool,
    JsonObjectFormat,
    JsonSchema,
    JsonSchemaFormat,
    NamedToolChoice,
    RankingOptions,
    TextFormat,
    ToolResources,
)
from tests.backends.judge import complaints
from tests.backends.requests import WEATHER, a_request, assistant, call, image_file, image_url, step, user

STORE = ToolResources(file_search=FileSearchResources(vector_store_ids=("vs_1",)))


def body_of(request: ModelRequest, *, background: bool = False) -> Any:
    body = responses_body(request, request.items, request.model, background=background)
    assert not complaints(body, "CreateResponse")
    return body


def input_of(*items: Any, **changes: Any) -> Any:
    return body_of(a_request(*items, **changes))["input"]


def test_what_nobody_asked_for_is_not_sent() -> None:
    """Unset parameters are not sent, and the endpoint is told to store nothing."""
    assert body_of(a_request(user("Hello"))) == {
        "model": "gpt-4o",
        "input": [{"role": "user", "content": "Hello"}],
        "stream": True,
        "store": False,
    }


def test_in_the_background_the_answer_is_kept() -> None:
    body = body_of(a_request(), background=True)
    assert (body["background"], body["store"], body["stream"]) == (True, True, True)


def test_everything_that_was_asked_for_is_sent() -> None:
    body = body_of(
        a_request(
            instructions="Be brief.",
            tools=(WEATHER,),
            tool_choice="required",
            parallel_tool_calls=False,
            response_format=JsonObjectFormat(),
            temperature=0.0,
            top_p=0.5,
            reasoning_effort="low",
            max_completion_tokens=300,
        )
    )
    assert (
        body.items()
        >= {
            "instructions": "Be brief.",
            "tool_choice": "required",
            "parallel_tool_calls": False,
            "text": {"format": {"type": "json_object"}},
            "temperature": 0.0,
            "top_p": 0.5,
            "reasoning": {"effort": "low"},
            "max_output_tokens": 300,
        }.items()
    )


def test_functions_are_flat_and_not_strict_by_themselves() -> None:
    """``strict`` is always sent: if missing it is true here, unlike in the Assistants API."""
    [tool] = body_of(a_request(tools=(WEATHER,)))["tools"]
    assert tool == {
        "type": "function",
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": WEATHER.function.parameters,
        "strict": False,
    }


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (NamedToolChoice(type="function", function=FunctionName(name="get_weather")), ["function", "get_weather"]),
        (NamedToolChoice(type="code_interpreter"), ["code_interpreter"]),
    ],
)
def test_one_tool_can_be_demanded(choice: NamedToolChoice, sent: list[str]) -> None:
    body = body_of(a_request(tools=(WEATHER, CodeInterpreterTool()), tool_choice=choice))
    assert list(body["tool_choice"].values()) == sent


@pytest.mark.parametrize("schema", [None, {"type": "object"}])
def test_an_answer_can_be_held_to_a_schema(schema: Any) -> None:
    given = JsonSchema(name="city", description="A city.", schema=schema, strict=True)
    body = body_of(a_request(response_format=JsonSchemaFormat(json_schema=given)))
    assert body["text"]["format"] == {
        "type": "json_schema",
        "name": "city",
        "description": "A city.",
        "schema": schema or {},
        "strict": True,
    }


def test_plain_text_can_be_asked_for() -> None:
    assert body_of(a_request(response_format=TextFormat()))["text"] == {"format": {"type": "text"}}


def test_file_search_goes_to_the_vector_stores_of_the_thread() -> None:
    options = FileSearchOptions(
        max_num_results=5, ranking_options=RankingOptions(score_threshold=0.5, ranker="default_2024_08_21")
    )
    tools = (FileSearchTool(file_search=options),)
    body = body_of(a_request(tools=tools, tool_resources=STORE))
    assert body["tools"] == [
        {
            "type": "file_search",
            "vector_store_ids": ["vs_1"],
            "max_num_results": 5,
            "ranking_options": {"score_threshold": 0.5, "ranker": "auto"},  # the old one is no more
        }
    ]
    assert body["include"] == ["file_search_call.results", "reasoning.encrypted_content"]


@pytest.mark.parametrize("options", [None, FileSearchOptions(), FileSearchOptions(ranking_options=RankingOptions())])
def test_file_search_as_it_comes(options: FileSearchOptions | None) -> None:
    body = body_of(a_request(tools=(FileSearchTool(file_search=options),), tool_resources=STORE))
    assert body["tools"] == [{"type": "file_search", "vector_store_ids": ["vs_1"]}]


@pytest.mark.parametrize("resources", [None, ToolResources(), ToolResources(file_search=FileSearchResources())])
def test_a_search_in_nothing_is_not_offered(resources: ToolResources | None) -> None:
    body = body_of(a_request(tools=(FileSearchTool(),), tool_resources=resources))
    assert "tools" not in body
    assert "tool_choice" not in body


def test_the_code_interpreter_gets_the_files_of_thread_and_messages() -> None:
    resources = ToolResources(code_interpreter=CodeInterpreterResources(file_ids=("file-1", "file-2")))
    attached = (
        Attachment(file_id="file-2", tools=(CodeInterpreterTool(),)),
        Attachment(file_id="file-3", tools=(FileSearchTool(), CodeInterpreterTool())),
        Attachment(file_id="file-4", tools=(FileSearchTool(),)),
        Attachment(tools=(CodeInterpreterTool(),)),
    )
    message = user("Sum it up.", attachments=attached)
    body = body_of(a_request(message, step(call()), tools=(CodeInterpreterTool(),), tool_resources=resources))
    container = {"type": "auto", "file_ids": ["file-1", "file-2", "file-3"]}
    assert body["tools"] == [{"type": "code_interpreter", "container": container}]
    assert body["include"] == ["code_interpreter_call.outputs", "reasoning.encrypted_content"]


def test_a_code_interpreter_without_files() -> None:
    body = body_of(a_request(tools=(CodeInterpreterTool(),)))
    assert body["tools"] == [{"type": "code_interpreter", "container": {"type": "auto"}}]


@pytest.mark.parametrize("image", [False, True])
def test_a_file_attached_for_a_search_is_not_dropped_silently(image: bool) -> None:
    """The model is told of it, and the thread is not blocked."""
    content = ("Find it.", image_file()) if image else ("Find it.",)
    message = user(*content, attachments=(Attachment(file_id="file-1", tools=(FileSearchTool(),)),))
    assert "file-1" not in str(input_of(message))  # nobody searches
    [item] = input_of(message, tools=(FileSearchTool(),), tool_resources=STORE)
    text = item["content"][-1]["text"] if image else item["content"]
    assert "The file file-1 was attached here" in text


def test_a_container_gets_no_more_files_than_the_api_accepts() -> None:
    """The latest attachments, and those of the thread: an old thread with many files is not refused."""
    resources = ToolResources(code_interpreter=CodeInterpreterResources(file_ids=("file-a",)))
    attached = [Attachment(file_id=f"file-{n}", tools=(CodeInterpreterTool(),)) for n in range(60)]
    messages = [user("Look.", attachments=tuple(attached[:30])), user("Look.", attachments=tuple(attached[30:]))]
    [tool] = body_of(a_request(*messages, tools=(CodeInterpreterTool(),), tool_resources=resources))["tools"]
    assert tool["container"]["file_ids"] == ["file-a", *(f"file-{n}" for n in range(11, 60))]


def test_a_round_of_calls_and_its_outputs() -> None:
    items = input_of(user("Weather?"), step(call(id="a"), call(id="b", output=None)))
    assert [item.get("call_id") for item in items] == [None, "a", "b", "a", "b"]
    assert [item["output"] for item in items[3:]] == ["sunny", NO_OUTPUT]
    assert items[1] == {
        "type": "function_call",
        "call_id": "a",
        "name": "get_weather",
        "arguments": '{"city":"Oslo"}',
    }


def test_calls_of_different_runs_with_the_same_id_stay_apart() -> None:
    items = input_of(step(call(id="call_0"), run_id="run_1"), user("?"), step(call(id="call_0")))
    ids = [item["call_id"] for item in items if item.get("type") == "function_call"]
    assert ids == [item["call_id"] for item in items if item.get("type") == "function_call_output"]
    assert len(set(ids)) == 2


def test_images_are_sent_by_address_or_file() -> None:
    [item] = input_of(user("What is it?", image_url(detail="low"), image_file()))
    assert item["content"] == [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": "https://example.com/cat.png", "detail": "low"},
        {"type": "input_image", "file_id": "file-cat", "detail": "auto"},
    ]


def test_what_cannot_be_sent_is_a_note() -> None:
    [item] = input_of(user(Unknown("audio", {"type": "audio"})))
    assert "type 'audio'" in item["content"][0]["text"]
    [item] = input_of(assistant(image_file()))
    assert "the file file-cat" in item["content"]


def test_messages_have_no_ids_that_the_endpoint_has_not_issued() -> None:
    assert input_of(assistant("Hi.")) == [{"type": "message", "role": "assistant", "content": "Hi."}]


def test_a_function_that_must_be_called_leaves_the_tools_as_they_are() -> None:
    """The list of tools is the same in each round, since an endpoint's prompt cache begins with it."""
    other = FunctionTool(function=Function(name="get_time"))
    choice = NamedToolChoice(type="function", function=FunctionName(name="get_weather"))
    body = body_of(a_request(tools=(other, WEATHER, CodeInterpreterTool()), tool_choice=choice))
    assert [tool.get("name") for tool in body["tools"]] == ["get_time", "get_weather", None]


def continued(*items: Any, kept: tuple[Any, ...] = (), source: str = "here", **changes: Any) -> Any:
    """The body of a call with a window, after these items, the last of which keeps what the endpoint sent."""
    if items and kept:
        items = (*items[:-1], with_replay(items[-1], Replay("here", kept)))
    request = a_request(*items, completion_window="2h", **{"previous": "resp_1", **changes})
    body = responses_body(request, request.items, request.model, background=True, source=source)
    assert not complaints(body, "CreateResponse")
    return body


def kept_call(id: str) -> dict[str, Any]:
    return {"type": "function_call", "id": f"fc_{id}", "call_id": id}


def test_a_window_is_sent_without_a_stream() -> None:
    body = continued(previous=None)
    assert body["background_options"] == {"completion_window": "2h"}
    assert (body["stream"], body["background"]) == (False, True)
    assert "previous_response_id" not in body


def test_outputs_continue_the_response_before_them() -> None:
    """They have the IDs that the endpoint gave, though the engine may have renamed calls; all else is there already."""
    calls = step(call(id="call_new", output="sunny"), call(id="call_2", output="noon"))
    kept = ({"type": "reasoning", "id": "rs_1", "summary": []}, kept_call("call_1"), kept_call("call_2"))
    body = continued(user("?"), calls, kept=kept)
    assert body["previous_response_id"] == "resp_1"
    assert body["input"] == [
        {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
        {"type": "function_call_output", "call_id": "call_2", "output": "noon"},
    ]


@pytest.mark.parametrize(
    ("items", "changes"),
    [
        ((user("?"), step(call())), {"kept": (kept_call("call_1"),), "previous": None}),
        ((user("?"), step(call())), {"kept": (kept_call("call_1"),), "source": "elsewhere"}),
        ((user("?"), step(call())), {"kept": (kept_call("call_1"), kept_call("call_2"))}),
        ((user("?"), step(call(), run_id="run_before")), {"kept": (kept_call("call_1"),)}),
        ((step(call()), user("?")), {}),
        ((), {"items": ()}),
    ],
)
def test_what_does_not_continue_is_sent_whole(items: Any, changes: Any) -> None:
    """Nothing went before, another endpoint or model has it, a call was not made, or another run made the calls."""
    body = continued(*items, **changes)
    assert "previous_response_id" not in body
    assert len(body["input"]) == (3 if items else 0)
