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
    note_on_part,
    output_of,
    parameters_of,
    text_of,
    without_none,
)
from openai_runs.backends.hosted_tools import hosted_call_item
from openai_runs.backends.model_backend import ModelRequest
from openai_runs.backends.replay import replay_items
from openai_runs.models.message import ImageFileContent, ImageUrlContent, Message, MessageRole, TextContent
from openai_runs.models.run_step import FunctionStepCall, RunStep
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


_MAX_CONTAINER_FILES: Final = 50
_LONGEST_CALL_ID: Final = 64  # ``function_call_output``


def responses_body(
    request: ModelRequest,
    items: Sequence[Item],
    model: str,
    *,
    background: bool = False,
    source: str = "",
    asks_for_thoughts: bool = True,
) -> Json:
    """Make the body of a request.

    Args:
        request: The model request.
        items: Those of the request's items that the model sees.
        model: The endpoint's name for the model.
        background: Whether the endpoint goes on if the connection is lost; it then stores the response.
        source: The endpoint and the model, which get back what they sent with their tool calls.
        asks_for_thoughts: Whether the endpoint shall send the model's thoughts, encrypted, for the calls after this.
    """
    body: Json = {
        "model": model,
        "input": list(_input_items(items, request, source)),
        "stream": request.completion_window is None,
        "store": background,
    }
    if background:
        body["background"] = True
    if request.completion_window is not None:
        body |= {"background_options": {"completion_window": request.completion_window}}
        if (outputs := _outputs_alone(items, request, source)) is not None:
            body |= {"previous_response_id": request.previous, "input": outputs}
    if tools := list(_tools(request, items)):
        body["tools"] = tools
        body["tool_choice"] = _tool_choice(request)
        if not request.parallel_tool_calls:  # true is the default, and some models refuse the parameter
            body["parallel_tool_calls"] = False
        kinds = {tool["type"] for tool in tools}
        include = [what for kind, what in _INCLUDE.items() if kind in kinds]
        if asks_for_thoughts:  # they are of use with tool calls only
            include.append("reasoning.encrypted_content")
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
                attached = [id for id in _attached_files(items, "code_interpreter") if id not in kept]
                # The latest of them, so that a thread cannot grow beyond what the API accepts.
                latest = list(dict.fromkeys(reversed(attached)))[: max(_MAX_CONTAINER_FILES - len(kept), 0)]
                files = [*kept, *reversed(latest)]
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


def _input_items(items: Sequence[Item], request: ModelRequest, source: str) -> Iterator[Json]:
    ids = CallIds(_LONGEST_CALL_ID)  # call IDs must be unique in the whole conversation
    pending: Message | None = None  # the assistant's, held back since its place may be between thoughts and calls
    for item in items:
        if isinstance(item, RunStep):
            kept = replay_items(item, source)
            if pending is not None and not (pending.run_id == item.run_id and _of_type(kept, "message")):
                yield from _assistant_message(pending)
                pending = None
            yield from _round(item, kept, pending, ids)
            pending = None
            continue
        if pending is not None:
            yield from _assistant_message(pending)
            pending = None
        if item.role != MessageRole.USER:
            pending = item
        elif (content := _content(item, request)) is not None:
            yield {"role": "user", "content": content}
    if pending is not None:
        yield from _assistant_message(pending)


def _of_type(kept: Sequence[Mapping[str, Any]], type: str) -> bool:
    return any(each.get("type") == type for each in kept)


def _round(step: RunStep, kept: Sequence[Mapping[str, Any]], message: Message | None, ids: CallIds) -> Iterator[Json]:
    """A round of tool calls: as the endpoint sent it if that is kept, then the outputs."""
    own = {each.get("call_id") for each in kept}
    calls = {call.id: (ids(call.id, is_endpoints_own=call.id in own), call) for call in step.function_calls}
    missing = dict(calls)
    sent: list[Json] = []
    for each in kept:
        match each.get("type"):
            case "message":
                sent += _assistant_message(message, each) if message is not None else ()
                message = None
            case "function_call":
                # The engine has renamed a call whose ID had been used before; then it is the next one.
                key = each.get("call_id") if each.get("call_id") in missing else next(iter(missing), None)
                if key is not None:
                    id, call = missing.pop(key)
                    sent.append(_call(id, call) | without_none(id=each.get("id")))
            case _:
                sent.append(dict(each))
    sent += _assistant_message(message) if message is not None else ()
    sent += filter(None, map(hosted_call_item, step.tool_calls))
    sent += [_call(id, call) for id, call in missing.values()]
    while sent and sent[-1].get("type") == "reasoning":  # what it led to was not done, and the API wants both or none
        sent.pop()
    yield from sent
    for id, call in calls.values():
        yield {"type": "function_call_output", "call_id": id, "output": output_of(call)}


def _outputs_alone(items: Sequence[Item], request: ModelRequest, source: str) -> list[Json] | None:
    """The outputs of the latest tool calls, if the response before this one has all else of the conversation.

    A follow-up request keeps its place in the endpoint's queue if window, model and continuation are those of the
    request before it. OpenAI's guide to background mode says so of a "continuation ID", which is taken here for
    ``previous_response_id``: the published API document is older than completion windows.
    """
    latest = items[-1] if items else None
    if request.previous is None or not isinstance(latest, RunStep) or latest.run_id != request.run_id:
        return None
    # The IDs that the endpoint gave, in place of those that calls have in the whole thread.
    ids = [each.get("call_id") for each in replay_items(latest, source) if each.get("type") == "function_call"]
    calls = latest.function_calls
    if len(ids) != len(calls):  # a call was not made, and would be without an output
        return None
    return [
        {"type": "function_call_output", "call_id": id, "output": output_of(call)}
        for id, call in zip(ids, calls, strict=True)
    ]


def _call(id: str, call: FunctionStepCall) -> Json:
    return {"type": "function_call", "call_id": id, "name": call.function.name, "arguments": arguments_of(call)}


def _assistant_message(message: Message, kept: Mapping[str, Any] | None = None) -> Iterator[Json]:
    """The assistant's message; none if it is empty, as when the run was cancelled before the first word."""
    if not (content := text_of(message)):
        return
    id = kept.get("id") if kept else None
    if kept is None or id is None:
        yield {"type": "message", "role": "assistant", "content": content}
        return
    yield {
        "type": "message",
        "id": id,
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": content, "annotations": [], "logprobs": []}],
    } | without_none(phase=kept.get("phase"))


def _content(message: Message, request: ModelRequest) -> str | list[Json] | None:
    """The content of a user's message; ``None`` if it is empty."""
    searches = any(isinstance(tool, FileSearchTool) for tool in request.tools)
    unsearched = list(_attached_files([message], "file_search")) if searches else []
    notes = [
        f"[The file {id} was attached here, but is in no vector store, so it cannot be searched.]" for id in unsearched
    ]
    if is_plain(message):
        return "\n\n".join(filter(None, [text_of(message), *notes])) or None
    return [*_parts(message), *({"type": "input_text", "text": note} for note in notes)]


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
                yield {"type": "input_text", "text": note_on_part(part).text.value}
