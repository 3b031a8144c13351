"""`chat_body`: the body of a Chat Completions request."""

from typing import Any

import pytest

from openai_runs.backends.chat_body import chat_body
from openai_runs.backends.conversation import NO_OUTPUT
from openai_runs.backends.model_backend import ModelRequest
from openai_runs.models.message import RefusalContent
from openai_runs.models.model import Unknown
from openai_runs.models.run_step import FileSearch, FileSearchCall
from openai_runs.models.tool import (
    Function,
    FunctionName,
    FunctionTool,
    JsonObjectFormat,
    JsonSchema,
    JsonSchemaFormat,
    NamedToolChoice,
    TextFormat,
)
from tests.backends.judge import complaints
from tests.backends.requests import WEATHER, a_request, assistant, call, image_file, image_url, step, user


def body_of(request: ModelRequest, **options: Any) -> Any:
    body = chat_body(request, request.items, request.model, **options)
    assert not complaints(body, "CreateChatCompletionRequest")
    return body


def messages(*items: Any, **changes: Any) -> Any:
    return body_of(a_request(*items, **changes))["messages"]


def test_what_nobody_asked_for_is_not_sent() -> None:
    assert body_of(a_request(user("Hello"))) == {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


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
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert body["tools"][0]["function"]["parameters"] == WEATHER.function.parameters
    assert {name: body[name] for name in ("tool_choice", "parallel_tool_calls", "response_format")} == {
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "response_format": {"type": "json_object"},
    }
    assert {name: body[name] for name in ("temperature", "top_p", "reasoning_effort", "max_completion_tokens")} == {
        "temperature": 0.0,
        "top_p": 0.5,
        "reasoning_effort": "low",
        "max_completion_tokens": 300,
    }


def test_the_limit_goes_by_an_older_name_where_it_must() -> None:
    body = body_of(a_request(max_completion_tokens=300), max_tokens_field="max_tokens")
    assert body["max_tokens"] == 300
    assert "max_completion_tokens" not in body


def test_one_function_can_be_demanded() -> None:
    choice = NamedToolChoice(type="function", function=FunctionName(name="get_weather"))
    other = FunctionTool(function=Function(name="get_time"))
    body = body_of(a_request(tools=(other, WEATHER), tool_choice=choice))
    assert [tool["function"]["name"] for tool in body["tools"]] == ["get_time", "get_weather"]  # in each round
    assert body["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}


def test_a_function_without_parameters_takes_none() -> None:
    body = body_of(a_request(tools=(FunctionTool(function=Function(name="now", strict=True)),)))
    function = {"name": "now", "parameters": {"type": "object", "properties": {}}, "strict": True}
    assert body["tools"] == [{"type": "function", "function": function}]


@pytest.mark.parametrize("strict", [None, True])
def test_an_answer_can_be_held_to_a_schema(strict: bool | None) -> None:
    schema = JsonSchema(name="city", schema={"type": "object"}, strict=strict)
    body = body_of(a_request(response_format=JsonSchemaFormat(json_schema=schema)))
    shown = {"name": "city", "schema": {"type": "object"}} | ({} if strict is None else {"strict": True})
    assert body["response_format"] == {"type": "json_schema", "json_schema": shown}


def test_plain_text_can_be_asked_for() -> None:
    assert body_of(a_request(response_format=TextFormat()))["response_format"] == {"type": "text"}


def test_a_round_of_calls_and_its_outputs() -> None:
    said = messages(user("Weather?"), step(call(id="a"), call(id="b", output="rain")))
    assert said[1]["content"] is None
    assert [each["id"] for each in said[1]["tool_calls"]] == ["a", "b"]
    assert said[2:] == [
        {"role": "tool", "tool_call_id": "a", "content": "sunny"},
        {"role": "tool", "tool_call_id": "b", "content": "rain"},
    ]


def test_words_and_calls_of_one_answer_are_one_message() -> None:
    said = messages(user("?"), assistant("Let me see.", run_id="run_1"), step(call(), run_id="run_1"))
    assert [message["role"] for message in said] == ["user", "assistant", "tool"]
    assert said[1]["content"] == "Let me see."


def test_words_and_calls_of_different_runs_are_not() -> None:
    said = messages(user("?"), assistant("Earlier.", run_id="run_1"), step(call(), run_id="run_2"), assistant("Done."))
    assert [message["role"] for message in said] == ["user", "assistant", "assistant", "tool", "assistant"]


def test_answers_in_a_row_stay_apart() -> None:
    assert [message["content"] for message in messages(assistant("One."), assistant("Two."), user("?"))] == [
        "One.",
        "Two.",
        "?",
    ]


def test_a_call_that_was_abandoned_is_answered() -> None:
    """Every call has an output: APIs refuse a conversation with an open call, and the thread would be unusable."""
    said = messages(user("?"), step(call(output=None), run_id="run_expired"), user("And now?"))
    assert said[2] == {"role": "tool", "tool_call_id": "call_1", "content": NO_OUTPUT}


def test_what_says_nothing_is_left_out() -> None:
    """Empty messages, and calls of hosted tools from another backend, are left out."""
    search = FileSearchCall(id="fs_1", file_search=FileSearch())
    assert messages(user("Hello"), assistant(), step(search)) == [{"role": "user", "content": "Hello"}]


def test_a_refusal_is_what_the_assistant_said() -> None:
    said = messages(user("?"), assistant(RefusalContent(refusal="I cannot.")))
    assert said[1] == {"role": "assistant", "content": "I cannot."}


def test_images_are_sent_by_their_address() -> None:
    [said] = messages(user("What is it?", image_url(), image_url("https://example.com/dog.png", "low")))
    assert said["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/dog.png", "detail": "low"}},
    ]


@pytest.mark.parametrize(
    ("part", "what"), [(image_file(), "An image, the file file-cat,"), (Unknown("audio", {}), "type 'audio'")]
)
def test_what_cannot_be_sent_is_a_note(part: Any, what: str) -> None:
    """A part that this API does not have does not block the thread, and the model can say what it did not see."""
    [said] = messages(user("Look.", part))
    shown, note = said["content"]
    assert shown["text"] == "Look."
    assert what in note["text"]


def test_an_image_of_the_assistant_is_a_note() -> None:
    [said] = messages(assistant("Here:", image_url("data:image/png;base64," + "x" * 1000)))
    assert said["content"].startswith("Here:\n\n[An image was here")
    assert len(said["content"]) < 300
