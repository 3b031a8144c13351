"""What each kind of endpoint supports of a run: one table, which refuses runs and is shown in the documentation."""

from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias

from attrs import frozen

from openai_runs.backends.model_backend import ModelBackend, ModelRequest, Unsupported
from openai_runs.models.model import Unknown
from openai_runs.models.tool import CodeInterpreterTool, FileSearchTool, NamedToolChoice, Tool

Kind: TypeAlias = Literal["chat", "responses"]
#: Finds the parameter of a run that asks for a feature, if there is one.
FindParameter: TypeAlias = Callable[[ModelRequest], str | None]


@frozen
class Feature:
    """Something that a run can ask for, or that a thread can contain."""

    name: str  #: the parameter
    chat: str  #: what a Chat Completions endpoint gets for it, or what happens instead
    responses: str  #: likewise for a Responses endpoint
    refused: tuple[Kind, ...] = ()  #: the kinds of endpoint for which a run that asks for it is refused
    parameter: FindParameter = lambda _: None


def _tool_parameter(kind: type[Tool]) -> FindParameter:
    def parameter(request: ModelRequest) -> str | None:
        return next((f"tools[{i}]" for i, tool in enumerate(request.tools) if isinstance(tool, kind)), None)

    return parameter


#: The parameter with which a run asks for file search, if it does.
search_parameter: Final = _tool_parameter(FileSearchTool)


def _choice_of_missing_tool(request: ModelRequest) -> str | None:
    """``tool_choice`` demands a call, and the tool for it is missing."""
    choice = request.tool_choice
    if isinstance(choice, NamedToolChoice):
        # The engine has checked already that a named function is among the tools.
        is_there = choice.function is not None if choice.type == "function" else choice.type in _offered_tools(request)
    else:
        is_there = choice != "required" or bool(_offered_tools(request))
    return None if is_there else "tool_choice"


def _offered_tools(request: ModelRequest) -> Sequence[str]:
    resources = request.tool_resources
    searches = bool(resources and resources.file_search and resources.file_search.vector_store_ids)
    return [tool.type for tool in request.tools if searches or not isinstance(tool, FileSearchTool)]


def _unknown_format(request: ModelRequest) -> str | None:
    return "response_format" if isinstance(request.response_format, Unknown) else None


_RUN_REFUSED: Final = "the run is refused"
_NOTE: Final = "a note in its place says what was there"
_SHOWN: Final = "its calls are run steps, citations are marked in the text and annotated"
_BOTH: Final[tuple[Kind, ...]] = ("chat", "responses")

_MISSING_TOOL: Final = Feature(
    "`tool_choice`: a tool that the run does not have",
    _RUN_REFUSED,
    _RUN_REFUSED,
    refused=_BOTH,
    parameter=_choice_of_missing_tool,
)

FEATURES: Final[Sequence[Feature]] = (
    Feature("`model`", "`model`, through the backend's `models`", "the same"),
    Feature("`instructions`, `additional_instructions`", "a `system` message, the first one", "`instructions`"),
    Feature("messages: text, refusals", "messages", "`input` items"),
    Feature("messages: `image_url`", "`image_url`", "`input_image`"),
    Feature(
        "messages: `image_file`, of `/files`",
        "`image_url` with the image itself; if it is missing, no image or too large, the run fails",
        "`input_image` with the image itself; if it is no image or too large, the run fails",
    ),
    Feature("messages: `image_file`, not of `/files`", "the run fails, and says so", "`input_image` with `file_id`"),
    Feature("messages: images of the assistant, unknown parts", _NOTE, _NOTE),
    Feature("images, files and containers that are gone", _NOTE, _NOTE),
    Feature(
        "messages: files attached for `code_interpreter`", "ignored, as the tool is refused", "`container.file_ids`"
    ),
    Feature(
        "messages: files attached for `file_search`",
        "ignored: what is searched are vector stores",
        "a note, if the run has the tool: the file is in no vector store",
    ),
    Feature("tool calls without an output, of a run that ended", "the output is a note that there is none", "the same"),
    Feature("`tools`: `function`", "`tools`", "`tools`, not strict unless `strict` is true"),
    Feature(
        "`tools`: `code_interpreter`",
        _RUN_REFUSED,
        "`code_interpreter`; its calls are run steps, files it makes are annotations",
        refused=("chat",),
        parameter=_tool_parameter(CodeInterpreterTool),
    ),
    Feature(
        "`tools`: `file_search`",
        f"with local files, a function that is carried out here; {_SHOWN}; else {_RUN_REFUSED}",
        f"`file_search`, or with local files the function; {_SHOWN}",
        refused=("chat",),
        parameter=search_parameter,
    ),
    Feature("`tools`: any other", _RUN_REFUSED, _RUN_REFUSED, refused=_BOTH, parameter=_tool_parameter(Unknown)),
    Feature(
        "`tools`: `file_search` without a vector store",
        f"with local files, the tool is left out; else {_RUN_REFUSED}",
        "the tool is left out, as it could find nothing",
    ),
    Feature(
        "`file_search.max_num_results`, `.ranking_options`",
        "obeyed with local files, which have one ranker",
        "the same; the ranker `default_2024_08_21` becomes `auto`",
    ),
    Feature(
        "`tool_resources` of thread, run and assistant",
        "vector stores are united, and searched with local files; files for code are ignored, as the tool is refused",
        "united, part of `tools`; vector stores are searched here with local files",
    ),
    Feature("`tool_choice`", "`tool_choice`, in the first model call of the run; the tools stay the same", "the same"),
    Feature(
        "thoughts of the model, with its tool calls",
        "`reasoning_content`, `reasoning`, `reasoning_details`, `extra_content`: sent again to the same model",
        "`reasoning` items, encrypted: sent again to the same model",
    ),
    _MISSING_TOOL,
    Feature("`parallel_tool_calls`", "sent if false; enforced in any case", "the same"),
    Feature("`response_format`: text, `json_object`, `json_schema`", "`response_format`", "`text.format`"),
    Feature("`response_format`: any other", _RUN_REFUSED, _RUN_REFUSED, refused=_BOTH, parameter=_unknown_format),
    Feature("`temperature`, `top_p`", "the same, if given", "the same, if given"),
    Feature("`reasoning_effort`", "the same, if given", "`reasoning.effort`, if given"),
    Feature(
        "`max_completion_tokens`",
        "the rest of it in each call, as `max_completion_tokens` or `max_tokens`",
        "the rest of it in each call, as `max_output_tokens`; below 16 the run is incomplete",
    ),
    Feature("`max_prompt_tokens`", "the oldest turns are left out by estimate, then `usage` is checked", "the same"),
    Feature("`truncation_strategy`: `auto`", "all is sent; if it is too long, the older half is left out", "the same"),
    Feature(
        "`truncation_strategy`: `last_messages`",
        "as many messages as given; if they are too long, the run fails",
        "the same",
    ),
    Feature(
        "`completion_window`",
        _RUN_REFUSED,
        "OpenAI: `background_options.completion_window`, in the background; elsewhere the run is refused",
    ),
    Feature("`metadata`", "not sent", "not sent"),
)


def unsupported(request: ModelRequest, kind: Kind, backend: str) -> Unsupported | None:
    """Find the first feature of a run that a kind of endpoint does not support.

    Args:
        request: The run's first model call.
        kind: The kind of endpoint.
        backend: The backend's name for the message.
    """
    refusals = (_refusal(feature, request, backend) for feature in FEATURES if kind in feature.refused)
    return next(filter(None, refusals), None)


def refused_choice(request: ModelRequest, backend: str) -> Unsupported | None:
    """Refuse the choice of a tool that the run does not have, or that could find nothing."""
    return _refusal(_MISSING_TOOL, request, backend)


def _refusal(feature: Feature, request: ModelRequest, backend: str) -> Unsupported | None:
    if (param := feature.parameter(request)) is None:
        return None
    return Unsupported(param, f"'{param}' asks for what {backend} does not support: {feature.name.replace('`', '')}.")


def unserved_window(window: str | None, backend: ModelBackend) -> Unsupported | None:
    """Refuse a run's completion window that a backend does not serve, of whatever kind it is.

    Args:
        window: The run's ``completion_window``.
        backend: What is to execute the run.
    """
    if window is None or window in backend.completion_windows:
        return None
    name = type(backend).__name__
    return Unsupported(
        "completion_window",
        f"'completion_window' asks for what {name} does not serve here: only ResponsesBackend does, at OpenAI's own "
        "endpoint, or at another one that it is told of (completion_windows=True, or --completion-windows).",
    )


def table() -> str:
    """The features as a Markdown table."""
    rows = [f"| {each.name} | {each.chat} | {each.responses} |" for each in FEATURES]
    return "\n".join(["| feature | Chat Completions | Responses |", "| --- | --- | --- |", *rows])
