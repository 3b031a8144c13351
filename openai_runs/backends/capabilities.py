"""What each kind of endpoint makes of what a run asks for: one table, for the refusal of runs and for the documents."""

from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias

from attrs import frozen

from openai_runs.backends.model_backend import ModelRequest, Unsupported
from openai_runs.models.model import Unknown
from openai_runs.models.tool import CodeInterpreterTool, FileSearchTool, NamedToolChoice, Tool

Kind: TypeAlias = Literal["chat", "responses"]
#: Says which parameter of a run asks for something, if one does.
Asked: TypeAlias = Callable[[ModelRequest], str | None]


@frozen
class Feature:
    """Something that a run can ask for, or that a thread can have in it."""

    name: str  #: the parameter
    chat: str  #: what becomes of it there
    responses: str  #: likewise
    refused: tuple[Kind, ...] = ()  #: where a run that asks for it is not created
    asked: Asked = lambda _: None


def _tool(kind: type[Tool]) -> Asked:
    def asked(request: ModelRequest) -> str | None:
        return next((f"tools[{i}]" for i, tool in enumerate(request.tools) if isinstance(tool, kind)), None)

    return asked


def _choice_of_missing_tool(request: ModelRequest) -> str | None:
    """A call is demanded, and there is nothing to call."""
    choice = request.tool_choice
    if isinstance(choice, NamedToolChoice):
        # Of a function, the engine has looked whether it is there.
        is_there = choice.function is not None if choice.type == "function" else choice.type in _offered(request)
    else:
        is_there = choice != "required" or bool(_offered(request))
    return None if is_there else "tool_choice"


def _offered(request: ModelRequest) -> Sequence[str]:
    resources = request.tool_resources
    searches = bool(resources and resources.file_search and resources.file_search.vector_store_ids)
    return [tool.type for tool in request.tools if searches or not isinstance(tool, FileSearchTool)]


def _unknown_format(request: ModelRequest) -> str | None:
    return "response_format" if isinstance(request.response_format, Unknown) else None


_REFUSED: Final = "the run is refused"
_FAILED: Final = "the run fails, `invalid_prompt`"
_BOTH: Final[tuple[Kind, ...]] = ("chat", "responses")

FEATURES: Final[Sequence[Feature]] = (
    Feature("`model`", "`model`, through the backend's `models`", "the same"),
    Feature("`instructions`, `additional_instructions`", "a `system` message, the first one", "`instructions`"),
    Feature("messages: text, refusals", "messages", "`input` items"),
    Feature("messages: `image_url`", "`image_url`", "`input_image`"),
    Feature("messages: `image_file`", _FAILED, "`input_image` with `file_id`"),
    Feature("messages: images of the assistant", _FAILED, _FAILED),
    Feature("messages: files attached for `code_interpreter`", "no use without the tool", "`container.file_ids`"),
    Feature("messages: files attached for `file_search`", "no use without the tool", f"{_FAILED}, if the run searches"),
    Feature("tool calls without an output, of a run that ended", "answered by a note", "the same"),
    Feature("`tools`: `function`", "`tools`", "`tools`, not strict unless they say so"),
    Feature(
        "`tools`: `code_interpreter`",
        _REFUSED,
        "`code_interpreter`; its uses are run steps, files it makes are annotations",
        refused=("chat",),
        asked=_tool(CodeInterpreterTool),
    ),
    Feature(
        "`tools`: `file_search`",
        _REFUSED,
        "`file_search`; its uses are run steps, citations are marked in the text and annotated",
        refused=("chat",),
        asked=_tool(FileSearchTool),
    ),
    Feature("`tools`: any other", _REFUSED, _REFUSED, refused=_BOTH, asked=_tool(Unknown)),
    Feature("`tools`: `file_search` without a vector store", _REFUSED, "not offered: nothing could be found"),
    Feature("`file_search.max_num_results`, `.ranking_options`", _REFUSED, "the same; the ranker of 2024 is `auto`"),
    Feature("`tool_resources` of thread, run or assistant", "no use without the tools", "part of `tools`"),
    Feature("`tool_choice`", "`tool_choice`, in the first model call of the run", "the same"),
    Feature(
        "`tool_choice`: of a tool that is not there",
        _REFUSED,
        _REFUSED,
        refused=_BOTH,
        asked=_choice_of_missing_tool,
    ),
    Feature("`parallel_tool_calls`", "sent if false; held to in any case", "the same"),
    Feature("`response_format`: text, `json_object`, `json_schema`", "`response_format`", "`text.format`"),
    Feature("`response_format`: any other", _REFUSED, _REFUSED, refused=_BOTH, asked=_unknown_format),
    Feature("`temperature`, `top_p`", "the same, if given", "the same, if given"),
    Feature("`reasoning_effort`", "the same, if given", "`reasoning.effort`, if given"),
    Feature(
        "`max_completion_tokens`",
        "what is left of it in each call, as `max_completion_tokens` or `max_tokens`",
        "what is left of it in each call, as `max_output_tokens`; below 16 the run is incomplete",
    ),
    Feature("`max_prompt_tokens`", "oldest turns left out by estimate, then held against `usage`", "the same"),
    Feature(
        "`truncation_strategy`: `auto`", "all is sent; if that is too long, the older half is left out", "the same"
    ),
    Feature(
        "`truncation_strategy`: `last_messages`", "so many messages; if that is too long, the run fails", "the same"
    ),
    Feature("`metadata`", "stays with us", "stays with us"),
)


def unsupported(request: ModelRequest, kind: Kind, backend: str) -> Unsupported | None:
    """Say what of a run a kind of endpoint cannot do.

    Args:
        request: The run's first model call.
        kind: The kind of endpoint.
        backend: What to call it in the message.
    """
    for feature in FEATURES:
        if kind in feature.refused and (param := feature.asked(request)) is not None:
            return Unsupported(param, f"'{param}' asks for what {backend} cannot do: {feature.name.replace('`', '')}.")
    return None


def table() -> str:
    """Write all of this down, in Markdown."""
    rows = [f"| {each.name} | {each.chat} | {each.responses} |" for each in FEATURES]
    return "\n".join(["| what | Chat Completions | Responses |", "| --- | --- | --- |", *rows])
