"""Request bodies to models: defaults filled in, the assistant's values taken over, new IDs given. No I/O."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias, TypeVar

from attrs import evolve

from openai_runs import _wire
from openai_runs._slices import Work
from openai_runs.engine.errors import ApiError
from openai_runs.engine.ids import new_id
from openai_runs.errors import ProtocolError
from openai_runs.models.assistant import Assistant
from openai_runs.models.message import Attachment, Content, Message, MessageRole, MessageStatus, Text, TextContent
from openai_runs.models.run import Run, RunStatus, TruncationStrategy
from openai_runs.models.thread import Thread
from openai_runs.models.tool import FunctionTool, NamedToolChoice, ResponseFormat, Tool, ToolResources
from openai_runs.stores.records import RunState

#: A request body, valid by the API document.
Body: TypeAlias = Mapping[str, Any]

#: For `Model.absent` of what the engine makes: every field is on the wire, nulls included.
ALL_SHOWN: Final[frozenset[str]] = frozenset()
# What the API's schema does not have is shown only where there is something to show.
_ASSISTANT_SHOWN: Final = frozenset({"reasoning_effort"})
_RUN_SHOWN: Final = frozenset({"reasoning_effort", "tool_resources"})
_AUTO_TRUNCATION: Final = TruncationStrategy(type="auto", absent=ALL_SHOWN)


def timestamp(now: float) -> datetime:
    """The API's timestamps are whole seconds."""
    return datetime.fromtimestamp(int(now), UTC)


def parse(value: Any, into: Any, param: str) -> Any:
    """Make models of a part of a body.

    Raises:
        ApiError: 400: the document allows it, and yet it makes no sense to us.
    """
    try:
        return _wire.load(value, into)
    except ProtocolError as error:
        problem = "; ".join(error.paths)
        raise ApiError(400, f"Invalid '{param}': {problem}.", param=param, code="invalid_value") from error


def new_assistant(body: Body, now: float) -> Assistant:
    """Make an assistant as it was asked for; `shown_assistant` fills in the defaults."""
    return _assistant({"id": new_id("asst"), "created_at": int(now), "tool_resources": {}, **body})


def changed_assistant(assistant: Assistant, body: Body) -> Assistant:
    """Make the assistant that a change leaves behind."""
    return _assistant({**_wire.dump(assistant), **body})


def _assistant(data: Body) -> Assistant:
    _refuse_new_vector_stores(data.get("tool_resources"))
    assistant: Assistant = parse(data, Assistant, "body")
    return evolve(assistant, metadata=assistant.metadata or {}, absent=_ASSISTANT_SHOWN)


def shown_assistant(assistant: Assistant) -> Assistant:
    """Fill in the API's defaults.

    They are not stored: a model that takes no temperature must not be sent one that nobody asked for.
    """
    return evolve(
        assistant,
        temperature=1.0 if assistant.temperature is None else assistant.temperature,
        top_p=1.0 if assistant.top_p is None else assistant.top_p,
        response_format="auto" if assistant.response_format is None else assistant.response_format,
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
    """Make the thread that a change leaves behind."""
    if "tool_resources" in body:
        thread = evolve(thread, tool_resources=_tool_resources(body["tool_resources"]))
    return with_metadata(thread, body)


MetadataT = TypeVar("MetadataT", Thread, Message, Run)


def with_metadata(value: MetadataT, body: Body) -> MetadataT:
    """Put a change's metadata, if it has some, in place of all that was there."""
    return evolve(value, metadata=body["metadata"] or {}) if "metadata" in body else value


def new_messages(bodies: Iterable[Body], thread_id: str, now: float) -> Work[list[Message]]:
    """Make messages that a caller adds to a thread."""
    messages = []
    for body in bodies:
        messages.append(new_message(body, thread_id, now))
        yield
    return messages


def new_message(body: Body, thread_id: str, now: float) -> Message:
    """Make a message that a caller adds to a thread."""
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


def new_run(body: Body, thread: Thread, assistant: Assistant, now: float, expires_after: float) -> tuple[Run, RunState]:
    """Make a run, and what the engine must know beside it. ``None`` in the body is the assistant's value."""

    def given(name: str) -> Any:
        return getattr(assistant, name) if body.get(name) is None else body[name]

    tools, choice, response_format = body.get("tools"), body.get("tool_choice"), body.get("response_format")
    truncation, resources = body.get("truncation_strategy"), body.get("tool_resources")
    temperature, top_p = given("temperature"), given("top_p")
    created_at = timestamp(now)
    run = Run(
        id=new_id("run"),
        created_at=created_at,
        thread_id=thread.id,
        assistant_id=assistant.id,
        status=RunStatus.QUEUED,
        expires_at=created_at + timedelta(seconds=math.ceil(expires_after)),
        model=given("model"),
        instructions="\n\n".join(filter(None, [given("instructions"), body.get("additional_instructions")])),
        tools=assistant.tools if tools is None else parse(tools, tuple[Tool, ...], "tools"),
        metadata=body.get("metadata") or {},
        temperature=1.0 if temperature is None else temperature,
        top_p=1.0 if top_p is None else top_p,
        max_prompt_tokens=_whole(body.get("max_prompt_tokens")),
        max_completion_tokens=_whole(body.get("max_completion_tokens")),
        truncation_strategy=_AUTO_TRUNCATION if truncation is None else _truncation(truncation),
        tool_choice=parse(choice, NamedToolChoice, "tool_choice") if isinstance(choice, Mapping) else choice or "auto",
        parallel_tool_calls=body.get("parallel_tool_calls", True),
        response_format=(
            parse(response_format, ResponseFormat, "response_format")
            if isinstance(response_format, Mapping)
            else response_format or assistant.response_format or "auto"
        ),
        reasoning_effort=given("reasoning_effort"),
        tool_resources=None if resources is None else _tool_resources(resources),
        absent=_RUN_SHOWN,
    )
    _check_tool_choice(run)
    state = RunState(
        id=run.id,
        thread_id=thread.id,
        deadline=now + expires_after,
        temperature=temperature,
        top_p=top_p,
        reasoning_effort=run.reasoning_effort,
        tool_resources=_first_of(run.tool_resources, thread.tool_resources, assistant.tool_resources),
    )
    return run, state


def _truncation(body: Body) -> TruncationStrategy:
    if body["type"] == "last_messages" and body.get("last_messages") is None:
        message = "'truncation_strategy.last_messages' must be given when the type is 'last_messages'."
        raise ApiError(400, message, param="truncation_strategy.last_messages", code="invalid_value")
    return TruncationStrategy(type=body["type"], last_messages=_whole(body.get("last_messages")), absent=ALL_SHOWN)


def _whole(number: float | None) -> int | None:
    """An integer as such: in JSON Schema ``1.0`` and ``1e300`` are integers too. It may be of any size."""
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
        message = "Vector stores cannot be made here; make one where your files are, and pass 'vector_store_ids'."
        raise ApiError(400, message, param="tool_resources.file_search.vector_stores", code="invalid_value")


def _first_of(*resources: ToolResources | None) -> ToolResources | None:
    """Take each tool's resources from the first who has some."""
    given = [each for each in resources if each is not None]
    code_interpreter = next((each.code_interpreter for each in given if each.code_interpreter is not None), None)
    file_search = next((each.file_search for each in given if each.file_search is not None), None)
    if code_interpreter is None and file_search is None:
        return None
    return ToolResources(code_interpreter=code_interpreter, file_search=file_search)
