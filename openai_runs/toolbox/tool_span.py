"""`ToolSpan`: the span of one tool call, which is current inside the tool."""

from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

from opentelemetry.trace import SpanKind

from openai_runs.models.tool import FunctionToolCall
from openai_runs.telemetry import Telemetry, current, end, error_type
from openai_runs.toolbox.memory import Failure, Outcome

_LONGEST_NAME: Final = 64  # characters, as the API has it; a model may write any name


class ToolSpan:
    """Records one call as ``execute_tool``; enter it in the call's own task.

    A call that another task is running already, or has run, is recorded as the wait for its outcome.

    Attributes:
        failure: What the call failed with, if it has.
        result: Its outcome.
    """

    failure: BaseException | None = None
    result: Outcome | None = None

    def __init__(self, telemetry: Telemetry, call: FunctionToolCall) -> None:
        self._records_content = telemetry.records_content
        self._entered = ExitStack()
        name = call.function.name[:_LONGEST_NAME]
        self._span = telemetry.start(
            f"execute_tool {name}",
            SpanKind.INTERNAL,
            {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": name,
                "gen_ai.tool.call.id": call.id,
                "gen_ai.tool.type": "function",
                "gen_ai.tool.call.arguments": call.function.arguments if self._records_content else None,
            },
        )

    def __enter__(self) -> Self:
        self._entered.enter_context(current(self._span))
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        self._entered.close()
        failure = self.result.cause if isinstance(self.result, Failure) else self.failure or error
        result = self.result if self._records_content and isinstance(self.result, str) else None
        end(self._span, error_type(failure), {"gen_ai.tool.call.result": result})
