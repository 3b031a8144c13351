"""What all live models get of a conversation, whatever their API: texts, tool calls, outputs, and how many of them.

No I/O, and nothing specific to one API.
"""

import math
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from attrs import define, field

from openai_runs import _wire
from openai_runs.backends.model_backend import ModelRequest
from openai_runs.errors import ProtocolError
from openai_runs.models.message import (
    Content,
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

#: Sent as the output of a call that never got one; without any, APIs refuse the conversation forever.
NO_OUTPUT: Final = "No output: the run that made this call ended before its output came."

#: Starts a citation in texts of the Assistants API, where programs search for it to insert footnotes.
_CITATION: Final = "【"

_BYTES_PER_TOKEN: Final = 4  # a rough estimate for English; no figure fits every model
_TOKENS_PER_IMAGE: Final = 800  # likewise


def without_none(**fields: Any) -> dict[str, Any]:
    """The fields that are set, since many servers refuse null."""
    return {name: value for name, value in fields.items() if value is not None}


def citation_marker(number: int, name: str, index: int = 0) -> str:
    """A citation as the Assistants API writes it into a text.

    Args:
        number: The number of the citation, or of the search.
        name: What readers see.
        index: Which result of the search.
    """
    return f"{_CITATION}{number}:{index}†{name}】"


def text_of(message: Message) -> str:
    """The text of a message, refusals included, and notes on other parts; without citations, which it would imitate."""
    return "\n\n".join(filter(None, map(_text_of_part, message.content)))


def _text_of_part(part: Content) -> str:
    match part:
        case TextContent(text=text):
            return _without_citations(text)
        case RefusalContent(refusal=refusal):
            return refusal
        case _:
            return note_on_part(part).text.value


def note_on_part(part: Content) -> TextContent:
    """A text in place of a part that the endpoint does not accept, so that the model can say what it did not see."""
    match part:
        case ImageFileContent(image_file=image):
            what = f"An image, the file {image.file_id},"
        case ImageUrlContent(image_url=image) if image.url.startswith("data:"):  # the image itself
            what = "An image"
        case ImageUrlContent(image_url=image):
            what = f"An image, {image.url:.200},"
        case _:
            what = f"Content of the type {part.type!r}"
    return TextContent(text=Text(value=f"[{what} was here, which cannot be sent to this model.]"))


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
    """Whether a message is sent as text: APIs accept other parts from users only."""
    has_text_only = all(isinstance(part, TextContent | RefusalContent) for part in message.content)
    return has_text_only or message.role != MessageRole.USER


@define
class CallIds:
    """Gives each call of a conversation a unique ID: some models count from ``call_0`` in each run.

    An ID that will do is kept, since a model may remember it.
    """

    _longest: float = math.inf  #: characters of an ID of another endpoint
    _used: set[str] = field(factory=set, init=False)

    def __call__(self, id: str, *, is_endpoints_own: bool = False) -> str:
        """The ID to send for a call.

        Args:
            id: Its own ID, which is sent if it is short enough and unused.
            is_endpoints_own: Whether the endpoint itself has issued the ID; then it is sent whatever its length.
        """
        if not id or (len(id) > self._longest and not is_endpoints_own) or id in self._used:
            id = next(name for name in map("call_{}".format, range(len(self._used) + 1)) if name not in self._used)
        self._used.add(id)
        return id


def arguments_of(call: FunctionStepCall) -> str:
    """The arguments of a call as the text of a JSON object.

    A model may have written something else, and servers that parse it would refuse the conversation forever.
    """
    text = call.function.arguments
    try:
        is_object = isinstance(_wire.decode(text), dict)
    except ProtocolError:  # not JSON: sent below as a string
        is_object = False
    return text if is_object else _wire.encode({"arguments": text} if text.strip() else {}).decode()


def output_of(call: FunctionStepCall) -> str:
    """The output of a call, or `NO_OUTPUT`."""
    return NO_OUTPUT if call.function.output is None else call.function.output


def parameters_of(function: Function) -> Any:
    """A function's JSON Schema; that of an empty object if it has none."""
    return {"type": "object", "properties": {}} if function.parameters is None else function.parameters


def functions_of(request: ModelRequest) -> list[Function]:
    """The functions that the model is offered.

    They are the same in each round, since an endpoint's prompt cache begins with them: the choice of one of them, which
    applies to the first round only, is in the tool choice alone.
    """
    return [tool.function for tool in request.tools if isinstance(tool, FunctionTool)]


def demanded_function(request: ModelRequest) -> str | None:
    """The name of the function that must be called, if it is one in particular."""
    choice = request.tool_choice
    return choice.function.name if isinstance(choice, NamedToolChoice) and choice.function is not None else None


def without_older_half(items: Sequence[Item]) -> Sequence[Item] | None:
    """Drop about the older half, so that the rest begins with a user's message; ``None`` if one turn is left."""
    starts = _turn_starts(items)
    later = [start for start in starts[1:] if start >= starts[-1] / 2]
    return items[later[0] :] if later else None


def within_tokens(items: Sequence[Item], tokens: int | None) -> Sequence[Item]:
    """Drop the oldest turns until the rest has about ``tokens`` tokens, or only the last turn is left."""
    if tokens is None:
        return items
    total, kept = 0, len(items)
    starts = set(_turn_starts(items))
    for index in range(len(items) - 1, -1, -1):
        total += _tokens_of(items[index])
        if total > tokens and kept < len(items):
            break
        if index in starts:
            kept = index
    return items[kept:]


def _turn_starts(items: Sequence[Item]) -> list[int]:
    """The indexes at which a conversation may begin: its first item, and each message of a user."""
    users = [i for i, item in enumerate(items) if isinstance(item, Message) and item.role == MessageRole.USER]
    return sorted({0, *users})


def _tokens_of(item: Item) -> int:
    """The estimated number of tokens of an item."""
    if isinstance(item, RunStep):
        texts = [f"{call.function.name}{call.function.arguments}{output_of(call)}" for call in item.function_calls]
        return sum(map(estimated_tokens, texts))
    images = sum(isinstance(part, ImageFileContent | ImageUrlContent) for part in item.content)
    return estimated_tokens(text_of(item)) + images * _TOKENS_PER_IMAGE


def estimated_tokens(text: str) -> int:
    """The estimated number of tokens of a text."""
    return math.ceil(len(text.encode(errors="replace")) / _BYTES_PER_TOKEN)
