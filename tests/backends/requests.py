"""Model requests for backends."""

from datetime import UTC, datetime
from itertools import count
from typing import Any

from openai_runs.backends.model_backend import ModelRequest
from openai_runs.models.message import (
    Attachment,
    Content,
    ImageFile,
    ImageFileContent,
    ImageUrl,
    ImageUrlContent,
    Message,
    MessageRole,
    Text,
    TextContent,
)
from openai_runs.models.run_step import (
    CalledFunction,
    FunctionStepCall,
    RunStep,
    RunStepStatus,
    StepToolCall,
    ToolCalls,
)
from openai_runs.models.tool import Function, FunctionTool

NOW = datetime(2026, 11, 1, tzinfo=UTC)
RUN = "run_now"
WEATHER = FunctionTool(
    function=Function(
        name="get_weather",
        description="The weather in a city.",
        parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    )
)
_number = count(1)


def a_request(*items: Message | RunStep, **changes: Any) -> ModelRequest:
    given: dict[str, Any] = {
        "run_id": RUN,
        "thread_id": "thread_1",
        "model": "gpt-4o",
        "instructions": "",
        "items": items or (user("Hello"),),
        "tools": (),
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "response_format": "auto",
        "tool_resources": None,
        "temperature": None,
        "top_p": None,
        "reasoning_effort": None,
        "max_prompt_tokens": None,
        "max_completion_tokens": None,
        "metadata": {},
    }
    return ModelRequest(**{**given, **changes})


def user(*content: str | Content, attachments: tuple[Attachment, ...] = ()) -> Message:
    return _message(MessageRole.USER, content, attachments=attachments)


def assistant(*content: str | Content, run_id: str | None = "run_before") -> Message:
    return _message(MessageRole.ASSISTANT, content, run_id=run_id)


def _message(role: MessageRole, content: tuple[str | Content, ...], **more: Any) -> Message:
    parts = tuple(TextContent(text=Text(value=part)) if isinstance(part, str) else part for part in content)
    id = f"msg_{next(_number)}"
    return Message(id=id, created_at=NOW, thread_id="thread_1", role=role, content=parts, **more)


def image_url(url: str = "https://example.com/cat.png", detail: str | None = None) -> ImageUrlContent:
    return ImageUrlContent(image_url=ImageUrl(url=url, detail=detail))


def image_file(file_id: str = "file-cat") -> ImageFileContent:
    return ImageFileContent(image_file=ImageFile(file_id=file_id))


def call(
    name: str = "get_weather", arguments: str = '{"city":"Oslo"}', output: str | None = "sunny", *, id: str = "call_1"
) -> FunctionStepCall:
    return FunctionStepCall(id=id, function=CalledFunction(name=name, arguments=arguments, output=output))


def step(*calls: StepToolCall, run_id: str = RUN) -> RunStep:
    return RunStep(
        id=f"step_{next(_number)}",
        created_at=NOW,
        thread_id="thread_1",
        run_id=run_id,
        type="tool_calls",
        status=RunStepStatus.COMPLETED,
        step_details=ToolCalls(tool_calls=calls),
    )
