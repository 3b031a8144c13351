"""A backend that says and calls what it is told: for tests, for the demo, for rehearsing a program without a model."""

import json
import math
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import anyio
import anyio.lowlevel
from attrs import field, frozen

from openai_runs.backends.model_backend import (
    BackendEvent,
    Finished,
    FinishReason,
    ModelBackend,
    ModelRequest,
    RefusalChunk,
    TextChunk,
    ToolCallChunk,
    UsageReport,
)
from openai_runs.backends.schema_samples import sample
from openai_runs.errors import BackendError
from openai_runs.models.message import Message
from openai_runs.models.run_step import RunStep
from openai_runs.models.tool import Function, FunctionTool, JsonObjectFormat, JsonSchemaFormat, NamedToolChoice


@frozen
class Say:
    """Text of the answer; it comes word by word."""

    text: str


@frozen
class Refuse:
    """A refusal to answer; it comes word by word."""

    text: str


@frozen
class Call:
    """A call of a function, whether or not the run has such a tool.

    Attributes:
        name: The function's.
        arguments: A JSON object, or the very text, which may be anything but JSON.
        id: Of the call. Unset: the engine makes one.
    """

    name: str
    arguments: Mapping[str, Any] | str = field(factory=dict)
    id: str | None = None


@frozen
class Wait:
    """Nothing, until an event is set; without an event, nothing for ever."""

    event: anyio.Event | None = None


@frozen
class Stop:
    """The end, for a reason; what comes behind it is not said."""

    reason: FinishReason


@frozen
class Fail:
    """The end, by a failure of the model."""

    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"] = "server_error"
    message: str = "The model failed, as it was told to."


Part: TypeAlias = Say | Refuse | Call | Wait | Stop | Fail
#: What happens in one model call: one thing, or several in turn.
Turn: TypeAlias = Part | Sequence[Part]
Script: TypeAlias = Sequence[Turn] | Callable[[ModelRequest], Turn]


class ScriptedBackend(ModelBackend):
    """Plays a model.

    Without a script it calls each function tool once, with arguments that satisfy the function's schema, and then
    answers from the outputs; without tools it answers by quoting what it was asked.

    ``ScriptedBackend([Call("get_weather", {"city": "Oslo"}), Say("It is sunny.")])`` does so in every run: the first
    turn is for a run's first model call, the second for the call that has the tool outputs. After the last turn it goes
    on as without a script. A function is asked for each turn; `default_turn` is what would be done without it.

    Tokens are words, that is, what is between spaces. Prompt tokens are the words of the instructions and of all items
    of the conversation, arguments and outputs included; completion tokens the words of what is said, and of
    arguments. When ``max_completion_tokens`` are used up, it ends in the middle, as a model does.
    """

    def __init__(self, script: Script | None = None) -> None:
        """Tell it what to do.

        Args:
            script: A turn for each model call of a run, or a function from request to turn.
        """
        self._script = script

    async def respond(self, request: ModelRequest) -> AsyncGenerator[BackendEvent]:
        """Play the turn that a request asks for."""
        await anyio.lowlevel.checkpoint()  # a model takes its time: others get their turn
        turn = self._turn(request)
        left = math.inf if request.max_completion_tokens is None else request.max_completion_tokens
        prompt, used = _words_of(request), 0
        reason: FinishReason = "stop"
        for event in _events(turn if isinstance(turn, Sequence) else (turn,)):
            if isinstance(event, Wait):
                await (anyio.sleep_forever() if event.event is None else event.event.wait())
                continue
            if isinstance(event, Fail):
                yield UsageReport(prompt, used)
                raise BackendError(event.code, event.message)
            if isinstance(event, Stop):
                reason = event.reason
                break
            words = len((event.arguments if isinstance(event, ToolCallChunk) else event.text).split())
            if used + words > left:
                reason = "max_tokens"
                break
            used += words
            yield event
        yield UsageReport(prompt, used)
        yield Finished(reason)

    def _turn(self, request: ModelRequest) -> Turn:
        if callable(self._script):
            return self._script(request)
        number = len(request.rounds)
        return self._script[number] if self._script and number < len(self._script) else default_turn(request)


def default_turn(request: ModelRequest) -> Turn:
    """What a `ScriptedBackend` does without a script."""
    calls = _calls_to_make(request)
    return [Call(function.name, sample(function.parameters)) for function in calls] or Say(_answer(request))


def _events(turn: Sequence[Part]) -> Iterator[TextChunk | RefusalChunk | ToolCallChunk | Wait | Stop | Fail]:
    calls = 0
    for part in turn:
        match part:
            case Say(text):
                yield from (TextChunk(piece) for piece in _pieces(text))
            case Refuse(text):
                yield from (RefusalChunk(piece) for piece in _pieces(text))
            case Call(name, arguments, id):
                yield ToolCallChunk(calls, id, name)
                yield ToolCallChunk(calls, arguments=arguments if isinstance(arguments, str) else json.dumps(arguments))
                calls += 1
            case _:
                yield part


def _pieces(text: str) -> list[str]:
    """The words of a text, each with the space before it; the last one with what is behind it."""
    return re.findall(r"\s*\S+(?:\s+$)?|\s+", text)


def _calls_to_make(request: ModelRequest) -> Sequence[Function]:
    choice = request.tool_choice
    functions = [tool.function for tool in request.tools if isinstance(tool, FunctionTool)]
    if isinstance(choice, NamedToolChoice):
        name = choice.function and choice.function.name
        functions = [function for function in functions if function.name == name] if name else functions
    if choice == "none" or (request.parallel_tool_calls and request.rounds):
        return ()
    made = {call.function.name for step in request.rounds for call in step.function_calls}
    due = [function for function in functions if function.name not in made]
    return due if request.parallel_tool_calls else due[:1]


def _answer(request: ModelRequest) -> str:
    outputs = [
        (call.function.name, call.function.output or "") for step in request.rounds for call in step.function_calls
    ]
    asked = next((item.text for item in reversed(request.items) if isinstance(item, Message)), "")
    if isinstance(request.response_format, JsonSchemaFormat):
        return json.dumps(sample(request.response_format.json_schema.schema))
    if isinstance(request.response_format, JsonObjectFormat):
        return json.dumps(dict(outputs) if outputs else {"asked": asked})
    return "\n".join(f"{name} answered: {output}" for name, output in outputs) or f"You said: {asked}"


def _words_of(request: ModelRequest) -> int:
    texts = [request.instructions, *(item.text for item in request.items if isinstance(item, Message))]
    steps = (item for item in request.items if isinstance(item, RunStep))
    for call in (call for step in steps for call in step.function_calls):
        texts += [call.function.arguments, call.function.output or ""]
    return sum(len(text.split()) for text in texts)
