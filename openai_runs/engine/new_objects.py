"""Makes models from request bodies: with defaults, the assistant's values, and new IDs. No I/O."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias, TypeVar

import attrs

from openai_runs import _wire
from openai_runs._evolving import evolve
from openai_runs._slices import Work
from openai_runs.engine.errors import ApiError
from openai_runs.engine.ids import new_id
from openai_runs.errors import ProtocolError
from openai_runs.models.assistant import Assistant
from openai_runs.models.completion_window import WINDOW_SECONDS
from openai_runs.models.file import File, FilePurpose, FileStatus
from openai_runs.models.message import Attachment, Content, Message, MessageRole, MessageStatus, Text, TextContent
from openai_runs.models.model import Model
from openai_runs.models.run import Run, RunStatus, TruncationStrategy
from openai_runs.models.thread import Thread
from openai_runs.models.tool import (
    CodeInterpreterResources,
    FileSearchResources,
    FunctionTool,
    NamedToolChoice,
    ResponseFormat,
    Tool,
    ToolResources,
)
from openai_runs.stores.records import RunState

#: A request body, valid by the API's schema.
Body: TypeAlias = Mapping[str, Any]

#: `Model.absent` of the engine's objects: no field is left out of the JSON, nulls included.
ALL_SHOWN: Final[frozenset[str]] = frozenset()
# Fields that the API's schema lacks: left out of the JSON while they are null.
_ASSISTANT_HIDDEN_IF_NONE: Final = frozenset({"reasoning_effort"})
_RUN_HIDDEN_IF_NONE: Final = frozenset({"reasoning_effort", "tool_resources", "completion_window"})
_FILE_HIDDEN_IF_NONE: Final = frozenset({"expires_at", "status_details"})
#: Seconds after which a file for a batch expires, unless the request says otherwise; the API's default.
_BATCH_FILE_LIFETIME: Final = 30 * 24 * 3600
_AUTO_TRUNCATION: Final = TruncationStrategy(type="auto", absent=ALL_SHOWN)


def timestamp(now: float) -> datetime:
    """Make a timestamp of the API, which has whole seconds."""
    return datetime.fromtimestamp(int(now), UTC)


def parse(value: Any, into: Any, param: str) -> Any:
    """Load a part of a body as a model.

    Raises:
        ApiError: 400: the API's schema allows it, but our model does not.
    """
    try:
        return _wire.load(value, into)
    except ProtocolError as error:
        problem = "; ".join(error.paths)
        raise ApiError(400, f"Invalid '{param}': {problem}.", param=param, code="invalid_value") from error


def new_assistant(body: Body, now: float) -> Assistant:
    """Make an assistant with the values of the body only; `shown_assistant` adds the defaults."""
    assistant = _assistant({"id": new_id("asst"), "created_at": int(now), "tool_resources": {}, **body})
    _refuse_unknown_keys(assistant.tools)
    return assistant


def changed_assistant(assistant: Assistant, body: Body) -> Assistant:
    """Apply the body of an update to an assistant."""
    assistant = _assistant({**_wire.dump(assistant), **body})
    if "tools" in body:  # those of an imported assistant may have any keys
        _refuse_unknown_keys(assistant.tools)
    return assistant


def _assistant(data: Body) -> Assistant:
    _refuse_new_vector_stores(data.get("tool_resources"))
    assistant: Assistant = parse(data, Assistant, "body")
    return evolve(assistant, metadata=assistant.metadata or {}, absent=_ASSISTANT_HIDDEN_IF_NONE)


def shown_assistant(assistant: Assistant) -> Assistant:
    """Add the API's defaults to an assistant, for a response.

    They are not stored: some models accept no temperature, and must not be sent one that the caller did not set.
    """
    return evolve(
        assistant,
        temperature=1.0 if assistant.temperature is None else assistant.temperature,
        top_p=1.0 if assistant.top_p is None else assistant.top_p,
        response_format="auto" if assistant.response_format is None else assistant.response_format,
    )


def new_file(body: Body, filename: str, size: int, now: float) -> File:
    """Make a file, whose content has ``size`` bytes."""
    created_at = timestamp(now)
    lifetime = body.get("expires_after", {}).get("seconds")
    if lifetime is None and body["purpose"] == FilePurpose.BATCH:
        lifetime = _BATCH_FILE_LIFETIME
    return File(
        id=new_id("file", "-"),
        bytes=size,
        created_at=created_at,
        expires_at=None if lifetime is None else created_at + timedelta(seconds=lifetime),
        filename=filename,
        purpose=FilePurpose(body["purpose"]),
        status=FileStatus.PROCESSED,  # nothing is done to it, so that it can be used at once
        absent=_FILE_HIDDEN_IF_NONE,
    )


def new_thread(body: Body, now: float) -> Thread:
    """Make a thread, without its messages."""
    resources = body.get("tool_resources", {})
    return Thread(
        id=new_id("thread"),
        created_at=timestamp(now),
        tool_resources=_tool_resources(resources),
        metadata=body.get("metadata") or {},
        absent=ALL_SHOWN,
    )


def changed_thread(thread: Thread, body: Body) -> Thread:
    """Apply the body of an update to a thread."""
    if "tool_resources" in body:
        thread = evolve(thread, tool_resources=_tool_resources(body["tool_resources"]))
    return with_metadata(thread, body)


MetadataT = TypeVar("MetadataT", Thread, Message, Run)


def with_metadata(value: MetadataT, body: Body) -> MetadataT:
    """Replace the metadata by that of an update's body, if the body has any."""
    return evolve(value, metadata=body["metadata"] or {}) if "metadata" in body else value


def new_messages(bodies: Iterable[Body], thread_id: str, now: float) -> Work[list[Message]]:
    """Make the messages that a request adds to a thread."""
    messages = []
    for body in bodies:
        messages.append(new_message(body, thread_id, now))
        yield
    return messages


def new_message(body: Body, thread_id: str, now: float) -> Message:
    """Make a message that a request adds to a thread."""
    content, attachments = body["content"], body.get("attachments")
    created_at = timestamp(now)
    return Message(
        id=new_id("msg"),
        created_at=created_at,
        thread_id=thread_id,
        status=MessageStatus.COMPLETED,
        completed_at=created_at,
        role=MessageRole(body["role"]),
        content=_content([{"type": "text", "text": content}] if isinstance(content, str) else content),
        attachments=parse(attachments, tuple[Attachment, ...], "attachments") if attachments else (),
        metadata=body.get("metadata") or {},
        absent=ALL_SHOWN,
    )


def _content(parts: Sequence[Body]) -> tuple[Content, ...]:
    return tuple(
        TextContent(text=Text(value=part["text"]))
        if part["type"] == "text"
        else parse(part, Content, f"content[{index}]")
        for index, part in enumerate(parts)
    )


def new_run(
    body: Body,
    thread: Thread,
    assistant: Assistant,
    now: float,
    expires_after: float,
    *,
    shows_search_content: bool = False,
) -> tuple[Run, RunState]:
    """Make a run and its state. Where the body has ``None`` or no value, the assistant's applies."""

    def setting(name: str) -> Any:
        return getattr(assistant, name) if body.get(name) is None else body[name]

    tools, choice, response_format = body.get("tools"), body.get("tool_choice"), body.get("response_format")
    truncation, resources = body.get("truncation_strategy"), body.get("tool_resources")
    temperature, top_p = setting("temperature"), setting("top_p")
    created_at = timestamp(now)
    window = body.get("completion_window")
    expires_after += _window_seconds(window)
    run = Run(
        id=new_id("run"),
        created_at=created_at,
        thread_id=thread.id,
        assistant_id=assistant.id,
        status=RunStatus.QUEUED,
        expires_at=created_at + timedelta(seconds=math.ceil(expires_after)),
        model=setting("model"),
        instructions="\n\n".join(filter(None, [setting("instructions"), body.get("additional_instructions")])),
        tools=assistant.tools if tools is None else _tools(tools),
        metadata=body.get("metadata") or {},
        temperature=1.0 if temperature is None else temperature,
        top_p=1.0 if top_p is None else top_p,
        max_prompt_tokens=_as_int(body.get("max_prompt_tokens")),
        max_completion_tokens=_as_int(body.get("max_completion_tokens")),
        truncation_strategy=_AUTO_TRUNCATION if truncation is None else _truncation(truncation),
        tool_choice=parse(choice, NamedToolChoice, "tool_choice") if isinstance(choice, Mapping) else choice or "auto",
        parallel_tool_calls=body.get("parallel_tool_calls", True),
        response_format=(
            parse(response_format, ResponseFormat, "response_format")
            if isinstance(response_format, Mapping)
            else response_format or assistant.response_format or "auto"
        ),
        reasoning_effort=setting("reasoning_effort"),
        tool_resources=None if resources is None else _tool_resources(resources),
        completion_window=window,
        absent=_RUN_HIDDEN_IF_NONE,
    )
    _check_tool_choice(run)
    state = RunState(
        id=run.id,
        thread_id=thread.id,
        deadline=now + expires_after,
        temperature=temperature,
        top_p=top_p,
        reasoning_effort=run.reasoning_effort,
        shows_search_content=shows_search_content,
        assistant_name=assistant.name,
        tool_resources=_united(run.tool_resources, thread.tool_resources, assistant.tool_resources),
    )
    return run, state


def with_new_window(run: Run, state: RunState, now: float, expires_after: float) -> tuple[Run, RunState]:
    """Give a run with a completion window the time for another model call, which has a window of its own."""
    if run.completion_window is None:
        return run, state
    deadline = now + expires_after + _window_seconds(run.completion_window)
    return evolve(run, expires_at=timestamp(math.ceil(deadline))), evolve(state, deadline=deadline)


def _window_seconds(window: str | None) -> float:
    return 0.0 if window is None else WINDOW_SECONDS[window]


def _tools(body: Any) -> tuple[Tool, ...]:
    tools: tuple[Tool, ...] = parse(body, tuple[Tool, ...], "tools")
    _refuse_unknown_keys(tools)
    return tools


def _refuse_unknown_keys(tools: Sequence[Tool]) -> None:
    """Refuse what no backend would apply, such as ``max_num_results`` outside ``file_search``: the schema allows it."""
    for index, tool in enumerate(tools):
        if isinstance(tool, Model) and (name := _unknown_key(tool)) is not None:
            param = f"tools[{index}].{name}"
            raise ApiError(400, f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")


def _unknown_key(model: Model) -> str | None:
    for name in model.extra:
        return name
    for attribute in attrs.fields(type(model)):
        value = getattr(model, attribute.name)
        if isinstance(value, Model) and (inner := _unknown_key(value)) is not None:
            return f"{attribute.name}.{inner}"
    return None


def _truncation(body: Body) -> TruncationStrategy:
    if body["type"] == "last_messages" and body.get("last_messages") is None:
        message = "'truncation_strategy.last_messages' must be setting when the type is 'last_messages'."
        raise ApiError(400, message, param="truncation_strategy.last_messages", code="invalid_value")
    return TruncationStrategy(type=body["type"], last_messages=_as_int(body.get("last_messages")), absent=ALL_SHOWN)


def _as_int(number: float | None) -> int | None:
    """Convert a number to ``int``: in JSON Schema ``1.0`` and ``1e300`` are integers too. It may be of any size."""
    return None if number is None else int(number)


def _check_tool_choice(run: Run) -> None:
    if isinstance(run.tool_choice, NamedToolChoice) and run.tool_choice.function is not None:
        name = run.tool_choice.function.name
        if not any(isinstance(tool, FunctionTool) and tool.function.name == name for tool in run.tools):
            message = f"'tool_choice' names the function '{name}', which is not among the run's tools."
            raise ApiError(400, message, param="tool_choice", code="invalid_value")


def _tool_resources(body: Body | None) -> ToolResources | None:
    _refuse_new_vector_stores(body)
    return None if body is None else parse(body, ToolResources, "tool_resources")


def _refuse_new_vector_stores(resources: Body | None) -> None:
    if resources and (resources.get("file_search") or {}).get("vector_stores"):
        message = "A vector store cannot be created here, but with an assistant or a thread. Pass 'vector_store_ids'."
        raise ApiError(400, message, param="tool_resources.file_search.vector_stores", code="invalid_value")


def _united(*resources: ToolResources | None) -> ToolResources | None:
    """Unite the resources: the hosted API searches the vector stores of the thread and of the assistant, say."""
    present = [each for each in resources if each is not None]
    files = dict.fromkeys(id for each in present if each.code_interpreter for id in each.code_interpreter.file_ids)
    stores = dict.fromkeys(id for each in present if each.file_search for id in each.file_search.vector_store_ids)
    if not files and not stores:
        return None
    return ToolResources(
        code_interpreter=CodeInterpreterResources(file_ids=tuple(files)) if files else None,
        file_search=FileSearchResources(vector_store_ids=tuple(stores)) if stores else None,
    )
