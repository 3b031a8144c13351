"""Builds the `ModelRequest` of a run's next model call. No I/O."""

from collections.abc import Iterable

from openai_runs.backends.model_backend import ModelRequest
from openai_runs.models.message import Message, MessageStatus
from openai_runs.models.run import Run
from openai_runs.models.run_step import RunStep, ToolCalls
from openai_runs.stores.records import RunState


def model_request(run: Run, state: RunState, history: Iterable[Message | RunStep], now: float) -> ModelRequest:
    """Build the request for a run's next model call.

    Args:
        run: The run.
        state: The run's state.
        history: The thread's messages and steps, truncated by the run's ``truncation_strategy``.
        now: Unix seconds.
    """
    items = tuple(item for item in history if _is_visible(item))
    has_called = any(isinstance(item, RunStep) and item.run_id == run.id for item in items)
    return ModelRequest(
        run_id=run.id,
        thread_id=run.thread_id,
        model=run.model or "",
        instructions=run.instructions or "",
        items=items,
        tools=run.tools,
        # Only the first call is forced: a tool choice that is forced in every turn would never let the run end.
        tool_choice="auto" if has_called and run.tool_choice != "none" else run.tool_choice or "auto",
        parallel_tool_calls=run.parallel_tool_calls is not False,
        response_format=run.response_format or "auto",
        tool_resources=state.tool_resources,
        temperature=state.temperature,
        top_p=state.top_p,
        reasoning_effort=state.reasoning_effort,
        max_prompt_tokens=_remaining(run.max_prompt_tokens, state.usage.prompt_tokens),
        max_completion_tokens=_remaining(run.max_completion_tokens, state.usage.completion_tokens),
        metadata=run.metadata or {},
        may_shorten=run.truncation_strategy is None or run.truncation_strategy.type == "auto",
        seconds_left=state.deadline - now,
        handle=state.handle,
        completion_window=run.completion_window,
        previous=state.previous,
    )


def _is_visible(item: Message | RunStep) -> bool:
    if isinstance(item, Message):
        return item.status != MessageStatus.IN_PROGRESS
    return isinstance(item.step_details, ToolCalls) and bool(item.step_details.tool_calls)


def _remaining(limit: int | None, used: int) -> int | None:
    return None if limit is None else limit - used
