"""Makes the body of a Responses request from a model request. No I/O.

The thread is stored here, so all its items are sent each time, and the endpoint is told to store nothing, unless it
works in the background. Source: ``CreateResponse`` of the API document.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from openai_runs.backends.conversation import (
    CallIds,
    Item,
    arguments_of,
    functions_of,
    is_plain,
    output_of,
    parameters_of,
    text_of,
    without_none,
)
from openai_runs.backends.hosted_tools import hosted_call_item
from openai_runs.backends.model_backend import ModelRequest
from openai_runs.errors import BackendError
from openai_runs.models.message import ImageFileContent, ImageUrlContent, Message, MessageRole, TextContent
from openai_runs.models.run_step import RunStep
from openai_runs.models.tool import (
    CodeInterpreterTool,
    FileSearchTool,
    Function,
    JsonObjectFormat,
    JsonSchemaFormat,
    NamedToolChoice,
    RankingOptions,
    TextFormat,
)

Json: TypeAlias = dict[str, Any]

#: The values of ``include``: without them, the endpoint leaves the results of its hosted tools out.
_INCLUDE: Final[Mapping[str, str]] = {
    "file_search": "file_search_call.results",
    "code_interpreter": "code_interpreter_call.outputs",
}


def responses_body(request: ModelRequest, items: Sequence[Item], model: str, *, background: bool = False) -> Json:
    """Make the body of a request.

    Args:
        request: The model request.
        items: Those of the request's items that the model sees.
        model: The endpoint's name for the model.
        background: Whether the endpoint goes on if the connection is lost; it then stores the response.

    Raises:
        BackendError: A message has content that this API does not accept.
    """
    # Call IDs must be unique in the whole conversation.
    ids = CallIds()
    body: Json = {
        "model": model,
        "input": [each for item in items for each in _input_items(item, request, ids)],
        "stream": True,
        "store": background,
    }
    if background:
        body["background"] = True
    if tools := list(_tools(request, items)):
        body["tools"] = tools
        body["tool_choice"] = _tool_choice(request)
        if not request.parallel_tool_calls:  # true is the default, and some models refuse the parameter
            body["parallel_tool_calls"] = False
        kinds = {tool["type"] for tool in tools}
        include = [what for kind, what in _INCLUDE.items() if kind in kinds]
        body |= without_none(include=include or None)
    match request.response_format:
        case JsonSchemaFormat(json_schema=schema):
            body["text"] = {
                "format": without_none(
                    type="json_schema",
                    name=schema.name,
                    description=schema.description,
                    schema=schema.schema or {},
                    strict=schema.strict,
                )
            }
        case JsonObjectFormat():
            body["text"] = {"format": {"type": "json_object"}}
        case TextFormat():
            body["text"] = {"format": {"type": "text"}}
    return body | without_none(
        instructions=request.instructions or None,
        temperature=request.temperature,
        top_p=request.top_p,
        reasoning=None if request.reasoning_effort is None else {"effort": request.reasoning_effort},
        max_output_tokens=request.max_completion_tokens,
    )


def _tools(request: ModelRequest, items: Sequence[Item]) -> Iterator[Json]:
    yield from map(_function, functions_of(request))
    resources = request.tool_resources
    for tool in request.tools:
        match tool:
            case FileSearchTool(file_search=options):
                stores = resources.file_search.vector_store_ids if resources and resources.file_search else ()
                if not stores:  # the API refuses a search without a vector store
                    continue
                yield without_none(
                    type="file_search",
                    vector_store_ids=list(stores),
                    max_num_results=options.max_num_results if options else None,
                    ranking_options=_ranking(options.ranking_options if options else None),
                )
            case CodeInterpreterTool():
                kept = resources.code_interpreter.file_ids if resources and resources.code_interpreter else ()
                # "auto" finds the container of earlier calls by their items.
                files = list(dict.fromkeys([*kept, *_attached_files(items, "code_interpreter")]))
                yield {"type": "code_interpreter", "container": {"type": "auto"} | without_none(file_ids=files or None)}


def _ranking(options: RankingOptions | None) -> Json | None:
    if options is None:
        return None
    # The hosted Assistants API stored this ranker in each assistant with the tool; it does not exist any more.
    ranker = "auto" if options.ranker == "default_2024_08_21" else options.ranker
    return without_none(ranker=ranker, score_threshold=options.score_threshold) or None


def _function(function: Function) -> Json:
    return without_none(type="function", name=function.name, description=function.description) | {
        "parameters": parameters_of(function),
        "strict": bool(function.strict),  # if missing it is true here, unlike in the Assistants API
    }


def _attached_files(items: Sequence[Item], tool: str) -> Iterator[str]:
    """The IDs of files attached to messages for a tool."""
    for item in items:
        for attachment in (item.attachments or ()) if isinstance(item, Message) else ():
            if attachment.file_id and any(each.type == tool for each in attachment.tools):
                yield attachment.file_id


def _tool_choice(request: ModelRequest) -> Any:
    choice = request.tool_choice
    if not isinstance(choice, NamedToolChoice):
        return choice
    return without_none(type=choice.type, name=choice.function.name if choice.function else None)


def _input_items(item: Item, request: ModelRequest, ids: CallIds) -> Iterator[Json]:
    if isinstance(item, RunStep):
        calls_by_id = [(ids(call), call) for call in item.function_calls]
        yield from filter(None, map(hosted_call_item, item.tool_calls))
        for id, call in calls_by_id:
            yield {
                "type": "function_call",
                "call_id": id,
                "name": call.function.name,
                "arguments": arguments_of(call),
            }
        for id, call in calls_by_id:
            yield {"type": "function_call_output", "call_id": id, "output": output_of(call)}
    elif (content := _content(item, request)) is not None:
        yield (
            {"role": "user", "content": content}
            if item.role == MessageRole.USER
            else _assistant_message(item.id, content)
        )


def _assistant_message(id: str, content: Any) -> Json:
    """The assistant's message in the long form: not every server accepts the short form for it."""
    return {
        "type": "message",
        "id": id if id.startswith("msg_") else f"msg_{id}"[:64],  # imported messages may have any ID
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": content, "annotations": [], "logprobs": []}],
    }


def _content(message: Message, request: ModelRequest) -> str | list[Json] | None:
    """A message's content; ``None`` if it is empty, as when the run was cancelled before the first word."""
    searches = any(isinstance(tool, FileSearchTool) for tool in request.tools)
    if searches and next(_attached_files([message], "file_search"), None):
        raise BackendError(
            "invalid_prompt",
            f"message {message.id} has a file attached for file_search, which ResponsesBackend cannot add to a vector "
            "store; add the file to one yourself, and name the store in tool_resources",
        )
    return (text_of(message) or None) if is_plain(message) else list(_parts(message))


def _parts(message: Message) -> Iterator[Json]:
    for part in message.content:
        match part:
            case TextContent(text=text):
                yield {"type": "input_text", "text": text.value}
            case ImageUrlContent(image_url=image):
                yield {"type": "input_image", "image_url": image.url, "detail": image.detail or "auto"}
            case ImageFileContent(image_file=image):
                yield {"type": "input_image", "file_id": image.file_id, "detail": image.detail or "auto"}
            case _:
                raise BackendError(
                    "invalid_prompt",
                    f"message {message.id} has a part of type {part.type!r}, which ResponsesBackend cannot send",
                )
