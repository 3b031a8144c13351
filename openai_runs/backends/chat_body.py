"""What a run asks, as the body of a Chat Completions request. No I/O.

Source: ``CreateChatCompletionRequest`` of the API document.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias

from openai_runs.backends.conversation import (
    CallIds,
    Item,
    arguments_of,
    functions_of,
    given,
    is_plain,
    output_of,
    parameters_of,
    text_of,
)
from openai_runs.backends.model_backend import ModelRequest
from openai_runs.errors import BackendError
from openai_runs.models.message import ImageUrlContent, Message, MessageRole, TextContent
from openai_runs.models.run_step import FunctionStepCall, RunStep
from openai_runs.models.tool import (
    Function,
    JsonObjectFormat,
    JsonSchemaFormat,
    NamedToolChoice,
    TextFormat,
)

Json: TypeAlias = dict[str, Any]
#: What an endpoint calls the limit of the answer: older servers know the second name only, and ignore the first.
MaxTokensField: TypeAlias = Literal["max_completion_tokens", "max_tokens"]


def chat_body(
    request: ModelRequest,
    items: Sequence[Item],
    model: str,
    *,
    max_tokens_field: MaxTokensField = "max_completion_tokens",
) -> Json:
    """Write the body of a request.

    Args:
        request: What to ask.
        items: Which of the request's items the model sees.
        model: The endpoint's name of the model.
        max_tokens_field: What the endpoint calls the limit of the answer.

    Raises:
        BackendError: A message cannot be said here.
    """
    messages = list(_messages(items))
    if request.instructions:
        # Not "developer": newer models take "system" for it, and other servers know no such role.
        messages.insert(0, {"role": "system", "content": request.instructions})
    body: Json = {
        "model": model,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if tools := [_tool(function) for function in functions_of(request)]:
        body["tools"] = tools
        body["tool_choice"] = _tool_choice(request)
        if not request.parallel_tool_calls:  # true is the default, and some models refuse to be told
            body["parallel_tool_calls"] = False
    match request.response_format:
        case JsonSchemaFormat(json_schema=schema):
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": given(
                    name=schema.name, description=schema.description, schema=schema.schema, strict=schema.strict
                ),
            }
        case JsonObjectFormat():
            body["response_format"] = {"type": "json_object"}
        case TextFormat():
            body["response_format"] = {"type": "text"}
    return body | given(
        **{max_tokens_field: request.max_completion_tokens},
        temperature=request.temperature,
        top_p=request.top_p,
        reasoning_effort=request.reasoning_effort,
    )


def _tool(function: Function) -> Json:
    shown = given(
        name=function.name,
        description=function.description,
        parameters=parameters_of(function),
        strict=function.strict,
    )
    return {"type": "function", "function": shown}


def _tool_choice(request: ModelRequest) -> Any:
    choice = request.tool_choice
    if isinstance(choice, NamedToolChoice):
        return {"type": "function", "function": {"name": choice.function.name if choice.function else ""}}
    return choice


def _messages(items: Sequence[Item]) -> Iterator[Json]:
    ids = CallIds()
    waiting: Json | None = None  # an assistant's message that calls of the same run may belong to
    speaker: str | None = None  # that run
    for item in items:
        if isinstance(item, RunStep):
            calls = item.function_calls
            if not calls:  # of the endpoint's own tools: what came of them is in the answer
                continue
            said, waiting = (waiting, None) if speaker == item.run_id else (None, waiting)
            if waiting:
                yield waiting
                waiting = None
            named = [(ids(call), call) for call in calls]
            yield {
                # A model that speaks and calls does both in one message.
                "role": "assistant",
                "content": said["content"] if said else None,
                "tool_calls": [_call(id, call) for id, call in named],
            }
            for id, call in named:
                yield {"role": "tool", "tool_call_id": id, "content": output_of(call)}
            continue
        if waiting:
            yield waiting
        message = _message(item)
        waiting = message if message and message["role"] == "assistant" else None
        speaker = item.run_id
        if message and not waiting:
            yield message
    if waiting:
        yield waiting


def _call(id: str, call: FunctionStepCall) -> Json:
    function = {"name": call.function.name, "arguments": arguments_of(call)}
    return {"id": id, "type": "function", "function": function}


def _message(message: Message) -> Json | None:
    """One message; ``None`` if it says nothing, such as an answer that was cancelled before its first word."""
    if is_plain(message):
        words = text_of(message)
        role = "user" if message.role == MessageRole.USER else "assistant"
        return {"role": role, "content": words} if words else None
    return {"role": "user", "content": list(_parts(message))}


def _parts(message: Message) -> Iterator[Json]:
    for part in message.content:
        match part:
            case TextContent(text=text):
                yield {"type": "text", "text": text.value}
            case ImageUrlContent(image_url=image):
                yield {"type": "image_url", "image_url": given(url=image.url, detail=image.detail)}
            case _:
                raise BackendError(
                    "invalid_prompt",
                    f"message {message.id} has a part of type {part.type!r}, which ChatCompletionsBackend cannot send: "
                    "Chat Completions has no uploaded images; give the image by its URL (image_url)",
                )
