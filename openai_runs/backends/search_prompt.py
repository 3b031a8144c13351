"""What a model is told of file search when it runs here: a function, how to cite, and what was found. No I/O.

To the model a search is a call of a function, whatever its API; to clients it is a run step of its own type. This
module turns one into the other. Searches of earlier runs are left out: what they led to is in the assistant's messages.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Final, Protocol

from openai_runs import _wire
from openai_runs._evolving import evolve
from openai_runs.backends.conversation import Item, citation_marker, estimated_tokens, functions_of
from openai_runs.backends.model_backend import ModelRequest
from openai_runs.errors import ProtocolError
from openai_runs.models.message import Message, MessageRole
from openai_runs.models.run_step import (
    CalledFunction,
    FileSearch,
    FileSearchCall,
    FileSearchResult,
    FoundText,
    FunctionStepCall,
    RunStep,
    StepToolCall,
    ToolCalls,
)
from openai_runs.models.tool import (
    FileSearchTool,
    Function,
    FunctionName,
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    NamedToolChoice,
    RankingOptions,
    Tool,
)

_MOST_QUERIES: Final = 8  # in one search; a model that asks for more repeats itself
_LONGEST_NAME: Final = 80  # characters of a file's name in a mark
_LEAST_ROOM: Final = 50  # tokens; a shorter piece of a passage says nothing

#: By which a scripted model knows the function, too.
SEARCH_PARAMETERS: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "queries": {
            "type": "array",
            "items": {"type": "string"},
            "minItems": 1,
            "maxItems": _MOST_QUERIES,
            "description": "What to look for: full questions, or the words that the passage will contain.",
        }
    },
    "required": ["queries"],
}
_DESCRIPTION: Final = "Search the user's files. Returns the passages that fit best, each after its mark."
_HOW_TO_SEARCH: Final = (
    "The user's files can be searched with the function {name}. Search before you say what is in them."
)
_HOW_TO_CITE: Final = (
    "Each passage that it finds comes after a mark in brackets, such as 【0:1†notes.txt】. When you use a passage, "
    "copy its mark unchanged to the end of the sentence. Never make up a mark."
)
_NOTHING: Final = "Nothing was found."


class FoundChunk(Protocol):
    """A chunk of a file that was found."""

    @property
    def file_id(self) -> str:
        """The file."""
        ...

    @property
    def filename(self) -> str:
        """The file's name."""
        ...

    @property
    def text(self) -> str:
        """The chunk."""
        ...

    @property
    def score(self) -> float:
        """How well it fits, from 0 to 1."""
        ...


def search_tool(request: ModelRequest) -> FileSearchTool | None:
    """The tool with which a run searches; ``None`` if there is none, or if it could find nothing."""
    tool = next((tool for tool in request.tools if isinstance(tool, FileSearchTool)), None)
    return tool if store_ids(request) else None


def store_ids(request: ModelRequest) -> Sequence[str]:
    """The vector stores that a run searches: its own, the thread's and the assistant's."""
    resources = request.tool_resources
    return resources.file_search.vector_store_ids if resources and resources.file_search else ()


def is_involved(request: ModelRequest) -> bool:
    """Whether a run has the tool, or its thread a search: if not, there is nothing to search, to cite, to leave out."""
    choice = request.tool_choice
    return (
        any(isinstance(tool, FileSearchTool) for tool in request.tools)
        or (isinstance(choice, NamedToolChoice) and choice.type == "file_search")
        or any(isinstance(item, RunStep) and any(map(_is_search, item.tool_calls)) for item in request.items)
    )


def _is_search(call: StepToolCall) -> bool:
    return isinstance(call, FileSearchCall)


def function_name(request: ModelRequest) -> str:
    """The name of the function: one that none of the user's functions has."""
    taken = {function.name for function in functions_of(request)}
    names = (f"file_search_{number}" if number > 1 else "file_search" for number in count(1))
    return next(name for name in names if name not in taken)


def with_function(request: ModelRequest, name: str, *, is_offered: bool = True) -> ModelRequest:
    """Put the function in the tool's place, in the tools and in the choice among them; or leave it out."""
    tools: list[Tool] = []
    for tool in request.tools:
        if not isinstance(tool, FileSearchTool):
            tools.append(tool)
        elif is_offered:
            is_offered = False  # once
            tools.append(_function(name))
    choice = request.tool_choice
    if isinstance(choice, NamedToolChoice) and choice.type == "file_search":
        choice = NamedToolChoice(type="function", function=FunctionName(name=name))
    return evolve(request, tools=tuple(tools), tool_choice=choice)


def _function(name: str) -> FunctionTool:
    return FunctionTool(function=Function(name=name, description=_DESCRIPTION, parameters=SEARCH_PARAMETERS))


def instructions(request: ModelRequest, name: str) -> str:
    """The run's instructions, and how to search and to cite."""
    how = _HOW_TO_SEARCH.format(name=name)
    if not expects_json(request):  # marks belong into texts for people
        how = f"{how} {_HOW_TO_CITE}"
    return "\n\n".join(filter(None, [request.instructions, how]))


def expects_json(request: ModelRequest) -> bool:
    """Whether the answer is to be JSON."""
    return isinstance(request.response_format, JsonObjectFormat | JsonSchemaFormat)


def queries_of(arguments: str) -> Sequence[str]:
    """The queries in a call's arguments, which a model has written; as much as can be made of them."""
    try:
        written = _wire.decode(arguments)
    except ProtocolError:  # no JSON: it may be the query itself
        written = arguments
    if isinstance(written, dict):
        written = written.get("queries") or written.get("query") or list(written.values())
    queries = written if isinstance(written, list) else [written]
    return [query for query in queries if isinstance(query, str) and query.strip()][:_MOST_QUERIES]


def asked(items: Sequence[Item]) -> str:
    """What the user has asked last; empty if it has no words."""
    messages = (item for item in reversed(items) if isinstance(item, Message) and item.role == MessageRole.USER)
    return next((message.text.strip() for message in messages), "")


def search_call(id: str, queries: Sequence[str], tool: FileSearchTool, found: Sequence[FoundChunk]) -> FileSearchCall:
    """A search as a run step has it."""
    ranking = (tool.file_search and tool.file_search.ranking_options) or RankingOptions()
    results = tuple(
        FileSearchResult(
            file_id=chunk.file_id,
            file_name=chunk.filename,
            score=chunk.score,
            content=(FoundText(type="text", text=chunk.text),),
        )
        for chunk in found
    )
    options = RankingOptions(ranker=ranking.ranker or "auto", score_threshold=ranking.score_threshold or 0.0)
    search = FileSearch(ranking_options=options, results=results, extra={"queries": list(queries)})
    return FileSearchCall(id=id, file_search=search)


def searches_of(items: Sequence[Item], run_id: str) -> Sequence[FileSearchCall]:
    """The searches of a run, in their order."""
    steps = (item for item in items if isinstance(item, RunStep) and item.run_id == run_id)
    return [call for step in steps for call in step.tool_calls if isinstance(call, FileSearchCall)]


def told(items: Sequence[Item], run_id: str, name: str, room: int) -> tuple[Item, ...]:
    """The conversation as the model gets it: searches of this run are calls of the function, with their outputs.

    Args:
        items: The conversation.
        run_id: This run.
        name: The function.
        room: How many tokens, as estimated, all that was found may have; the latest search goes first.
    """
    outputs = iter(_outputs(searches_of(items, run_id), room))

    def call_of(call: StepToolCall) -> StepToolCall:
        if not isinstance(call, FileSearchCall):
            return call
        arguments = _wire.encode({"queries": call.file_search.extra.get("queries", [])}).decode()
        return FunctionStepCall(
            id=call.id, function=CalledFunction(name=name, arguments=arguments, output=next(outputs))
        )

    made: list[Item] = []
    for item in items:
        calls = item.tool_calls if isinstance(item, RunStep) else ()
        if isinstance(item, RunStep) and any(isinstance(call, FileSearchCall) for call in calls):
            if item.run_id != run_id:
                calls = tuple(call for call in calls if not isinstance(call, FileSearchCall))
            if calls:
                made.append(evolve(item, step_details=ToolCalls(tool_calls=tuple(map(call_of, calls)))))
        else:
            made.append(item)
    return tuple(made)


def _outputs(searches: Sequence[FileSearchCall], room: int) -> Sequence[str]:
    """What each search has found, as text: passages, each after its mark."""
    outputs: list[str] = []
    for number, call in reversed(list(enumerate(searches))):
        passages: list[str] = []
        results = call.file_search.results or ()
        for index, result in enumerate(results):
            text = text_of(result)
            tokens = estimated_tokens(text)
            if tokens > room >= _LEAST_ROOM:
                text, tokens = text[: len(text) * room // tokens], room  # as far as it fits
            if tokens > room:
                passages.append(f"[Passages left out for lack of room: {len(results) - index}]")
                break
            room -= tokens
            passages.append(f"{mark_of(number, index, result)}\n{text}")
        outputs.append("\n\n".join(passages) or _NOTHING)
    return outputs[::-1]


def text_of(result: FileSearchResult) -> str:
    """The text of a result."""
    return "\n".join(part.text or "" for part in result.content)


def mark_of(search: int, index: int, result: FileSearchResult) -> str:
    """The mark of a result."""
    name = re.sub(r"[【】\s]+", " ", result.file_name).strip()
    return citation_marker(search, name[:_LONGEST_NAME], index)


_PASSAGE: Final = re.compile(r"^(【[0-9]+:[0-9]+†[^【】\n]*】)\n", re.MULTILINE)


def passages_in(output: str) -> Iterator[tuple[str, str]]:
    """The marks and texts in what the function has returned."""
    _, *parts = _PASSAGE.split(output)
    for mark, text in zip(parts[::2], parts[1::2], strict=True):
        yield mark, text.strip()
