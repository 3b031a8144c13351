"""Makes the body of a Chat Completions request from a model request. No I/O.

Source: ``CreateChatCompletionRequest`` of the API document.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from openai_runs.backends.conversation import (
    CallIds,
    Item,
    arguments_of,
    functions_of,
    is_plain,
    note_on_part,
    output_of,
    parameters_of,
    text_of,
    without_none,
)
from openai_runs.backends.model_backend import ModelRequest
from openai_runs.backends.replay import replay_items
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
#: The endpoint's name for the limit of output tokens: older servers only know the second, and ignore the first.
MaxTokensField: TypeAlias = Literal["max_completion_tokens", "max_tokens"]


def chat_body(
    request: ModelRequest,
    items: Sequence[Item],
    model: str,
    *,
    max_tokens_field: MaxTokensField = "max_completion_tokens",
    source: str = "",
) -> Json:
    """Make the body of a request.

    Args:
        request: The model request.
        items: Those of the request's items that the model sees.
        model: The endpoint's name for the model.
        max_tokens_field: The endpoint's name for the limit of output tokens.
        source: The endpoint and the model, which get back what they sent with their tool calls.
    """
    messages = list(_messages(items, source))
    if request.instructions:
        # Not "developer": newer models accept "system" too, and other servers do not know "developer".
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
        if not request.parallel_tool_calls:  # true is the default, and some models refuse the parameter
            body["parallel_tool_calls"] = False
    match request.response_format:
        case JsonSchemaFormat(json_schema=schema):
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": without_none(
                    name=schema.name, description=schema.description, schema=schema.schema, strict=schema.strict
                ),
            }
        case JsonObjectFormat():
            body["response_format"] = {"type": "json_object"}
        case TextFormat():
            body["response_format"] = {"type": "text"}
    return body | without_none(
        **{max_tokens_field: request.max_completion_tokens},
        temperature=request.temperature,
        top_p=request.top_p,
        reasoning_effort=request.reasoning_effort,
    )


def _tool(function: Function) -> Json:
    declaration = without_none(
        name=function.name,
        description=function.description,
        parameters=parameters_of(function),
        strict=function.strict,
    )
    return {"type": "function", "function": declaration}


def _tool_choice(request: ModelRequest) -> Any:
    choice = request.tool_choice
    if isinstance(choice, NamedToolChoice):
        return {"type": "function", "function": {"name": choice.function.name if choice.function else ""}}
    return choice


def _messages(items: Sequence[Item], source: str) -> Iterator[Json]:
    ids = CallIds()
    pending: Json | None = None  # an assistant's message, held back since tool calls of the same run belong into it
    pending_run_id: str | None = None
    for item in items:
        if isinstance(item, RunStep):
            calls = item.function_calls
            if not calls:  # only hosted tool calls, whose results are in the assistant's message
                continue
            message, pending = (pending, None) if pending_run_id == item.run_id else (None, pending)
            if pending:
                yield pending
                pending = None
            calls_by_id = [(ids(call.id), call) for call in calls]
            thoughts, signatures = _replayed(item, source)
            yield {
                **thoughts,
                # Text and tool calls of one model call are one message.
                "role": "assistant",
                "content": message["content"] if message else None,
                "tool_calls": [_call(id, call) | signatures.get(call.id, {}) for id, call in calls_by_id],
            }
            for id, call in calls_by_id:
                yield {"role": "tool", "tool_call_id": id, "content": output_of(call)}
            continue
        if pending:
            yield pending
        message = _message(item)
        pending = message if message and message["role"] == "assistant" else None
        pending_run_id = item.run_id
        if message and not pending:
            yield message
    if pending:
        yield pending


def _replayed(step: RunStep, source: str) -> tuple[Json, Mapping[str, Json]]:
    """What the endpoint wants back: fields of the message, and of its tool calls by their IDs."""
    for item in replay_items(step, source):
        fields, calls = item.get("message"), item.get("calls")
        if isinstance(fields, dict) and isinstance(calls, list):
            pairs = zip(step.function_calls, calls, strict=False)  # calls that were not made are missing at the end
            return fields, {call.id: fields for call, fields in pairs if isinstance(fields, dict)}
    return {}, {}


def _call(id: str, call: FunctionStepCall) -> Json:
    function = {"name": call.function.name, "arguments": arguments_of(call)}
    return {"id": id, "type": "function", "function": function}


def _message(message: Message) -> Json | None:
    """One message; ``None`` if it is empty, as when the run was cancelled before the first word."""
    if is_plain(message):
        text = text_of(message)
        role = "user" if message.role == MessageRole.USER else "assistant"
        return {"role": role, "content": text} if text else None
    return {"role": "user", "content": list(_parts(message))}


def _parts(message: Message) -> Iterator[Json]:
    for part in message.content:
        match part:
            case TextContent(text=text):
                yield {"type": "text", "text": text.value}
            case ImageUrlContent(image_url=image):
                yield {"type": "image_url", "image_url": without_none(url=image.url, detail=image.detail)}
            case _:  # an uploaded image, which this API does not have, or something unknown
                yield {"type": "text", "text": note_on_part(part).text.value}
