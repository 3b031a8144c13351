"""What every live model is told of a conversation, whatever its API: texts, tool calls and outputs, how much of it.

No I/O, and nothing of any one API.
"""

import math
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from attrs import define, field

from openai_runs import _wire
from openai_runs.backends.model_backend import ModelRequest
from openai_runs.errors import BackendError, ProtocolError
from openai_runs.models.message import (
    FileCitation,
    ImageFileContent,
    ImageUrlContent,
    Message,
    MessageRole,
    RefusalContent,
    Text,
    TextContent,
)
from openai_runs.models.run_step import FunctionStepCall, RunStep
from openai_runs.models.tool import Function, FunctionTool, NamedToolChoice

Item: TypeAlias = Message | RunStep

#: What the model is told where an output never came; without any, APIs refuse the conversation for good.
NO_OUTPUT: Final = "No output: the run that made this call ended before its output came."

#: How citations look in a text of the Assistants API, where programs search for them to put footnotes there.
_CITATION: Final = "【"

_LONGEST_CALL_ID: Final = 64  # of a Responses API's ``function_call_output``
_BYTES_A_TOKEN: Final = 4  # a rough measure that holds for English; there is none that holds for every model
_TOKENS_AN_IMAGE: Final = 800  # likewise


def given(**fields: Any) -> dict[str, Any]:
    """Leave out what nobody asked for: many servers do not take null."""
    return {name: value for name, value in fields.items() if value is not None}


def citation_marker(number: int, name: str) -> str:
    """Write a citation the way the Assistants API does."""
    return f"{_CITATION}{number}:0†{name}】"


def text_of(message: Message) -> str:
    """All that a message says in words, a refusal too; citations are left out, or a model would imitate them."""
    parts = []
    for part in message.content:
        if isinstance(part, TextContent):
            parts.append(_without_citations(part.text))
        elif isinstance(part, RefusalContent):
            parts.append(part.refusal)
    return "\n\n".join(filter(None, parts))


def _without_citations(text: Text) -> str:
    value = text.value
    citations = [
        note for note in text.annotations if isinstance(note, FileCitation) and note.text.startswith(_CITATION)
    ]
    for note in sorted(citations, key=lambda note: note.start_index, reverse=True):
        if value[note.start_index : note.end_index] == note.text:
            value = value[: note.start_index] + value[note.end_index :]
    return value


def is_plain(message: Message) -> bool:
    """Whether a message has nothing but words in it.

    Raises:
        BackendError: It has what only a user may send.
    """
    plain = all(isinstance(part, TextContent | RefusalContent) for part in message.content)
    if not plain and message.role != MessageRole.USER:
        raise BackendError(
            "invalid_prompt", f"message {message.id} is the assistant's and has an image in it; no model takes that"
        )
    return plain


@define
class CallIds:
    """Gives each call of a conversation an ID of its own: some models count from ``call_0`` in each run."""

    _given: set[str] = field(factory=set, init=False)

    def __call__(self, call: FunctionStepCall) -> str:
        """The ID to send for a call: its own, if that will do."""
        id = call.id
        if not id or len(id) > _LONGEST_CALL_ID or id in self._given:
            id = next(name for name in map("call_{}".format, range(len(self._given) + 1)) if name not in self._given)
        self._given.add(id)
        return id


def arguments_of(call: FunctionStepCall) -> str:
    """The arguments of a call as a JSON object.

    What a model wrote may be none, and servers that parse it would then refuse the conversation for good.
    """
    text = call.function.arguments
    try:
        is_object = isinstance(_wire.decode(text), dict)
    except ProtocolError:  # kept below, as a string
        is_object = False
    return text if is_object else _wire.encode({"arguments": text} if text.strip() else {}).decode()


def output_of(call: FunctionStepCall) -> str:
    """The output of a call, or what stands for one that never came."""
    return NO_OUTPUT if call.function.output is None else call.function.output


def parameters_of(function: Function) -> Any:
    """A function's JSON Schema; one without parameters takes none."""
    return {"type": "object", "properties": {}} if function.parameters is None else function.parameters


def functions_of(request: ModelRequest) -> list[Function]:
    """The functions that the model is offered.

    One that must be called is the only one: many servers force some call, and not the one that was named.
    """
    functions = [tool.function for tool in request.tools if isinstance(tool, FunctionTool)]
    if isinstance(request.tool_choice, NamedToolChoice) and request.tool_choice.function is not None:
        return [function for function in functions if function.name == request.tool_choice.function.name]
    return functions


def shortened(items: Sequence[Item]) -> Sequence[Item] | None:
    """Leave the older half out, from a user's message on; ``None`` if only the last turn is left."""
    starts = _turns(items)
    later = [start for start in starts[1:] if start >= starts[-1] / 2]
    return items[later[0] :] if later else None


def within(items: Sequence[Item], tokens: int | None) -> Sequence[Item]:
    """Leave out the oldest turns until the rest is about ``tokens`` long, or only the last turn is left."""
    if tokens is None:
        return items
    total, kept = 0, len(items)
    starts = set(_turns(items))
    for index in range(len(items) - 1, -1, -1):
        total += _tokens(items[index])
        if total > tokens and kept < len(items):
            break
        if index in starts:
            kept = index
    return items[kept:]


def _turns(items: Sequence[Item]) -> list[int]:
    """Where the conversation may begin: at its own beginning, and at each message of a user."""
    users = [i for i, item in enumerate(items) if isinstance(item, Message) and item.role == MessageRole.USER]
    return sorted({0, *users})


def _tokens(item: Item) -> int:
    """About how many tokens an item is long."""
    if isinstance(item, RunStep):
        texts = [f"{call.function.name}{call.function.arguments}{output_of(call)}" for call in item.function_calls]
        return sum(map(_tokens_of_text, texts))
    images = sum(isinstance(part, ImageFileContent | ImageUrlContent) for part in item.content)
    return _tokens_of_text(text_of(item)) + images * _TOKENS_AN_IMAGE


def _tokens_of_text(text: str) -> int:
    return math.ceil(len(text.encode(errors="replace")) / _BYTES_A_TOKEN)
