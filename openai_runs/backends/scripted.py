"""`ScriptedBackend`: follows a script instead of a model, for tests, demos, and trying out a program."""

import json
import math
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import anyio
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
from openai_runs.backends.quoting import cited, is_search, quoted
from openai_runs.backends.schema_samples import sample
from openai_runs.errors import BackendError
from openai_runs.models.message import Message, MessageRole
from openai_runs.models.run_step import RunStep
from openai_runs.models.tool import Function, FunctionTool, JsonObjectFormat, JsonSchemaFormat, NamedToolChoice

_MAX_SAID: Final = 10  # messages, the latest, in which arguments are looked for


@frozen
class Say:
    """Text of the message, sent word by word."""

    text: str


@frozen
class Refuse:
    """A refusal, sent word by word."""

    text: str


@frozen
class Call:
    """A function call, whether or not the run has such a tool.

    Attributes:
        name: The function's name.
        arguments: A JSON object, or a text to send as it is, which need not be JSON.
        id: The call's ID. Unset: the engine makes one.
    """

    name: str
    arguments: Mapping[str, Any] | str = field(factory=dict)
    id: str | None = None


@frozen
class Cite:
    """The mark of a citation: of the first passage found in this run that has these words, else of the best passage.

    Nothing, if nothing was found. `SearchingBackend` makes it an annotation.
    """

    containing: str = ""


@frozen
class Wait:
    """A pause until an event is set; without an event, forever."""

    event: anyio.Event | None = None


@frozen
class Stop:
    """The end of the model call, with a finish reason; parts after it are ignored."""

    reason: FinishReason


@frozen
class Fail:
    """The end of the model call with an error."""

    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"] = "server_error"
    message: str = "The model failed, as the script says."


Part: TypeAlias = Say | Refuse | Call | Cite | Wait | Stop | Fail
#: What happens in one model call: one part, or several in order.
Turn: TypeAlias = Part | Sequence[Part]
Script: TypeAlias = Sequence[Turn] | Callable[[ModelRequest], Turn]


class ScriptedBackend(ModelBackend):
    """Plays a model from a script.

    Without a script it calls each function tool once, with arguments that satisfy the function's schema, and then
    writes a message with the outputs; without tools it quotes the last message. For the arguments it uses names, dates
    and numbers that the user has mentioned, the latest message first: it calls ``get_weather(city="Lisbon")`` after
    "Weather in Lisbon?".

    ``ScriptedBackend([Call("get_weather", {"city": "Oslo"}), Say("It is sunny.")])`` follows this script in every run:
    the first turn is a run's first model call, the second the call after the tool outputs. After the last turn it goes
    on as without a script. A script may also be a function, which is called for each turn; `default_turn` returns the
    turn of a backend without a script.

    With `SearchingBackend`, ``Call("file_search", {"queries": ["…"]})`` is a search, and `Cite` cites what it found.
    Without a script it searches for the user's message, and quotes the sentence that fits best.

    Each word between spaces counts as a token. Prompt tokens are the words of the instructions and of all items of the
    conversation, with arguments and outputs; completion tokens are the words of texts and arguments. When
    ``max_completion_tokens`` are used up, it stops in the middle, as a model does.
    """

    def __init__(self, script: Script | None = None) -> None:
        """Set the script.

        Args:
            script: A turn for each model call of a run, or a function from request to turn.
        """
        self._script = script

    async def respond(self, request: ModelRequest) -> AsyncGenerator[BackendEvent]:
        """Play the turn for this request."""
        turn = self._turn(request)
        tokens_left = math.inf if request.max_completion_tokens is None else request.max_completion_tokens
        prompt, used = _count_words(request), 0
        reason: FinishReason = "stop"
        for event in _events(turn if isinstance(turn, Sequence) else (turn,), request):
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
            if used + words > tokens_left:
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
    """The turn of a `ScriptedBackend` without a script."""
    if calls := _calls_to_make(request):
        said = _said(request)
        return [Call(function.name, _arguments(function, said)) for function in calls]
    return Say(_message_text(request))


def _arguments(function: Function, said: Sequence[str]) -> Any:
    # A search is for the whole question, not for what a schema would make of it.
    return {"queries": said[:1]} if is_search(function) else sample(function.parameters, said)


def _events(
    turn: Sequence[Part], request: ModelRequest
) -> Iterator[TextChunk | RefusalChunk | ToolCallChunk | Wait | Stop | Fail]:
    calls = 0
    for part in turn:
        match part:
            case Say(text):
                yield from (TextChunk(word) for word in _words(text))
            case Refuse(text):
                yield from (RefusalChunk(word) for word in _words(text))
            case Call(name, arguments, id):
                yield ToolCallChunk(calls, id, name)
                yield ToolCallChunk(calls, arguments=arguments if isinstance(arguments, str) else json.dumps(arguments))
                calls += 1
            case Cite(containing):
                yield from (TextChunk(mark) for mark in cited(request.rounds, containing))
            case _:
                yield part


def _words(text: str) -> list[str]:
    """The words of a text, each with the space before it; the last one also with the space after it."""
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
    remaining = [function for function in functions if function.name not in made]
    return remaining if request.parallel_tool_calls else remaining[:1]


def _message_text(request: ModelRequest) -> str:
    calls = [call.function for step in request.rounds for call in step.function_calls]
    outputs = [(call.name, call.output or "") for call in calls]
    asked = next((item.text for item in reversed(request.items) if isinstance(item, Message)), "")
    if isinstance(request.response_format, JsonSchemaFormat):
        return json.dumps(sample(request.response_format.json_schema.schema, _said(request)))
    if isinstance(request.response_format, JsonObjectFormat):
        return json.dumps(dict(outputs) if outputs else {"asked": asked})
    searches = {
        tool.function.name for tool in request.tools if isinstance(tool, FunctionTool) and is_search(tool.function)
    }
    told = [quoted(output, asked) if name in searches else f"{name} answered: {output}" for name, output in outputs]
    return "\n".join(told) or f"You said: {asked}"


def _said(request: ModelRequest) -> Sequence[str]:
    """What the user has said, the latest first."""
    messages = [item for item in reversed(request.items) if isinstance(item, Message)]
    return [message.text for message in messages if message.role == MessageRole.USER][:_MAX_SAID]


def _count_words(request: ModelRequest) -> int:
    texts = [request.instructions, *(item.text for item in request.items if isinstance(item, Message))]
    steps = (item for item in request.items if isinstance(item, RunStep))
    for call in (call for step in steps for call in step.function_calls):
        texts += [call.function.arguments, call.function.output or ""]
    return sum(len(text.split()) for text in texts)
