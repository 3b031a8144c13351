"""What messages say and what tool calls did, as texts: for the console's pages and for notebooks."""

import json
from collections.abc import Iterator
from typing import Final

from attrs import frozen

from openai_runs.models.message import ImageFileContent, ImageUrlContent, Message, RefusalContent, TextContent
from openai_runs.models.run_step import CodeInterpreterCall, FileSearchCall, FunctionStepCall, LogsOutput, StepToolCall

#: What stands before a refusal.
REFUSED: Final = "(refused) "


@frozen
class CallTexts:
    """A tool call of a step."""

    id: str
    name: str  #: the function's, or the tool's type
    arguments: str
    output: str | None  #: ``None`` until there is one


def call_texts(call: StepToolCall) -> CallTexts:
    """A tool call of any type. Arguments are as the model wrote them, so they need not be JSON."""
    match call:
        case FunctionStepCall():
            return CallTexts(call.id, call.function.name, call.function.arguments, call.function.output)
        case CodeInterpreterCall():
            outputs = call.code_interpreter.outputs
            texts = [each.logs if isinstance(each, LogsOutput) else f"({each.type})" for each in outputs]
            return CallTexts(call.id, "code_interpreter", call.code_interpreter.input, "\n".join(texts))
        case FileSearchCall():
            results = call.file_search.results
            found = [f"{each.score:.2f}  {each.file_name}" for each in results or ()]
            output = None if results is None else "\n".join(found) or "nothing found"
            return CallTexts(call.id, "file_search", "", output)
        case _:
            raw = json.dumps(dict(call.raw), ensure_ascii=False)
            return CallTexts(str(call.raw.get("id", "")), call.type, raw, None)


def parts(message: Message) -> Iterator[str]:
    """What a message says, a text for each of its parts."""
    for part in message.content:
        match part:
            case TextContent():
                yield part.text.value
            case RefusalContent():
                yield REFUSED + part.refusal
            case ImageFileContent():
                yield f"(image {part.image_file.file_id})"
            case ImageUrlContent():
                yield f"(image {part.image_url.url[:200]})"
            case _:
                yield f"({part.type})"
