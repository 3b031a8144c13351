"""Tools of an assistant, the choice among them, tool calls and outputs, and response formats."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, Required, TypeAlias, TypedDict

from attrs import field, frozen

from openai_runs.models.limits import METADATA, NAME, Items, Range
from openai_runs.models.model import NEEDED, Model, Unknown


@frozen(kw_only=True, repr=False)
class Function(Model):
    """The definition of a function, as the model gets it. Source: ``FunctionObject``."""

    name: Annotated[str, NAME]
    description: str | None = None
    parameters: Mapping[str, Any] | None = field(default=None, hash=False)  #: a JSON Schema; none means no parameters
    strict: bool | None = None  #: whether arguments must follow the schema exactly


@frozen(kw_only=True, repr=False)
class FunctionTool(Model):
    """A function that the caller runs. Source: ``AssistantToolsFunction``."""

    type: Literal["function"] = "function"
    function: Function


@frozen(kw_only=True, repr=False)
class CodeInterpreterTool(Model):
    """The endpoint's code interpreter. Source: ``AssistantToolsCode``."""

    type: Literal["code_interpreter"] = "code_interpreter"


@frozen(kw_only=True, repr=False)
class RankingOptions(Model):
    """How file search ranks what it finds. Source: ``FileSearchRankingOptions``."""

    score_threshold: Annotated[float | None, Range(0, 1)] = None
    ranker: str | None = None  #: ``auto`` or ``default_2024_08_21``


@frozen(kw_only=True, repr=False)
class FileSearchOptions(Model):
    """Overrides for file search."""

    max_num_results: Annotated[int | None, Range(1, 50)] = None
    ranking_options: RankingOptions | None = None


@frozen(kw_only=True, repr=False)
class FileSearchTool(Model):
    """The endpoint's search in vector stores. Source: ``AssistantToolsFileSearch``."""

    type: Literal["file_search"] = "file_search"
    file_search: FileSearchOptions | None = None


class FunctionParam(TypedDict, total=False):
    """`Function` as JSON."""

    name: Required[Annotated[str, NAME]]
    description: str | None
    parameters: Mapping[str, Any] | None
    strict: bool | None


class FunctionToolParam(TypedDict):
    """`FunctionTool` as JSON."""

    type: Literal["function"]
    function: FunctionParam


class CodeInterpreterToolParam(TypedDict):
    """`CodeInterpreterTool` as JSON."""

    type: Literal["code_interpreter"]


class RankingOptionsParam(TypedDict, total=False):
    """`RankingOptions` as JSON."""

    score_threshold: Required[Annotated[float, Range(0, 1)]]
    ranker: str


class FileSearchOptionsParam(TypedDict, total=False):
    """`FileSearchOptions` as JSON."""

    max_num_results: Annotated[int, Range(1, 50)]
    ranking_options: RankingOptionsParam


class FileSearchToolParam(TypedDict, total=False):
    """`FileSearchTool` as JSON."""

    type: Required[Literal["file_search"]]
    file_search: FileSearchOptionsParam


Tool: TypeAlias = FunctionTool | CodeInterpreterTool | FileSearchTool | Unknown
#: A tool as a request takes it: one of these models, or a JSON object. An object of an unknown type is sent as it is.
ToolParam: TypeAlias = Tool | FunctionToolParam | CodeInterpreterToolParam | FileSearchToolParam | Mapping[str, Any]


class ToolSource(ABC):
    """What may stand for its tools in a request: a `Toolbox`, which this module does not know."""

    @property
    @abstractmethod
    def tools(self) -> Sequence[FunctionTool]:
        """The definitions that are sent."""


@frozen(kw_only=True, repr=False)
class CodeInterpreterResources(Model):
    """Files for the code interpreter."""

    file_ids: Annotated[tuple[str, ...], Items(20)] = ()


@frozen(kw_only=True, repr=False)
class FileSearchResources(Model):
    """Vector stores for file search."""

    vector_store_ids: Annotated[tuple[str, ...], Items(1)] = ()


@frozen(kw_only=True, repr=False)
class ToolResources(Model):
    """Files and vector stores for the endpoint's tools."""

    code_interpreter: CodeInterpreterResources | None = None
    file_search: FileSearchResources | None = None


class AutoChunking(TypedDict):
    """The endpoint chooses the size of chunks."""

    type: Literal["auto"]


class StaticChunkingSizes(TypedDict):
    """Sizes in tokens; the overlap is at most half the chunk."""

    max_chunk_size_tokens: Annotated[int, Range(100, 4096)]
    chunk_overlap_tokens: int


class StaticChunking(TypedDict):
    """Chunks of a given size."""

    type: Literal["static"]
    static: StaticChunkingSizes


class VectorStoreParams(TypedDict, total=False):
    """A vector store to create together with an assistant or a thread."""

    file_ids: Sequence[str]
    chunking_strategy: AutoChunking | StaticChunking
    metadata: Annotated[dict[str, str] | None, METADATA]


class CodeInterpreterResourcesParams(TypedDict, total=False):
    """Files for the code interpreter."""

    file_ids: Annotated[Sequence[str], Items(20)]


class FileSearchResourcesParams(TypedDict, total=False):
    """Either existing vector stores, or new ones."""

    vector_store_ids: Annotated[Sequence[str], Items(1)]
    vector_stores: Annotated[Sequence[VectorStoreParams], Items(1)]


class ToolResourcesParams(TypedDict, total=False):
    """`ToolResources` as a request takes them."""

    code_interpreter: CodeInterpreterResourcesParams
    file_search: FileSearchResourcesParams


@frozen(kw_only=True, repr=False)
class FunctionName(Model):
    """The function that must be called."""

    name: str


@frozen(kw_only=True, repr=False)
class NamedToolChoice(Model):
    """One tool that the model must use. Source: ``AssistantsNamedToolChoice``."""

    type: str  #: ``function``, ``code_interpreter`` or ``file_search``
    function: FunctionName | None = None


#: ``none``, ``auto``, ``required``, or one tool.
ToolChoice: TypeAlias = str | NamedToolChoice


class FunctionNameParam(TypedDict):
    """The function that must be called."""

    name: Annotated[str, NAME]


class NamedToolChoiceParam(TypedDict):
    """`NamedToolChoice` as JSON."""

    type: Literal["function", "code_interpreter", "file_search"]
    function: NotRequired[FunctionNameParam]


ToolChoiceParam: TypeAlias = Literal["none", "auto", "required"] | NamedToolChoice | NamedToolChoiceParam


@frozen(kw_only=True, repr=False)
class TextFormat(Model):
    """Answers are plain text."""

    type: Literal["text"] = "text"


@frozen(kw_only=True, repr=False)
class JsonObjectFormat(Model):
    """Answers are some JSON object."""

    type: Literal["json_object"] = "json_object"


@frozen(kw_only=True, repr=False)
class JsonSchema(Model):
    """The schema that answers follow."""

    name: Annotated[str, NAME]
    description: str | None = None
    schema: Mapping[str, Any] | None = field(default=None, hash=False)
    strict: bool | None = None


@frozen(kw_only=True, repr=False)
class JsonSchemaFormat(Model):
    """Answers follow a JSON schema. Source: ``ResponseFormatJsonSchema``."""

    type: Literal["json_schema"] = "json_schema"
    json_schema: JsonSchema


class JsonSchemaParam(TypedDict, total=False):
    """`JsonSchema` as JSON."""

    name: Required[Annotated[str, NAME]]
    description: str
    schema: Mapping[str, Any]
    strict: bool | None


class JsonSchemaFormatParam(TypedDict):
    """`JsonSchemaFormat` as JSON."""

    type: Literal["json_schema"]
    json_schema: JsonSchemaParam


#: ``auto``, or a format; older endpoints also send ``none``.
ResponseFormat: TypeAlias = str | TextFormat | JsonObjectFormat | JsonSchemaFormat | Unknown
ResponseFormatParam: TypeAlias = (
    Literal["auto"] | TextFormat | JsonObjectFormat | JsonSchemaFormat | JsonSchemaFormatParam | Mapping[str, Any]
)


@frozen(kw_only=True, repr=False)
class FunctionCall(Model):
    """The name and arguments of a function call."""

    name: str = field(metadata=NEEDED)
    arguments: str = field(metadata=NEEDED)  #: JSON text written by a model: it may be invalid


@frozen(kw_only=True, repr=False)
class FunctionToolCall(Model):
    """A function call that waits for its output. Source: ``RunToolCallObject``."""

    id: str = field(metadata=NEEDED)
    type: Literal["function"] = "function"
    function: FunctionCall


ToolCall: TypeAlias = FunctionToolCall | Unknown


@frozen(kw_only=True, repr=False)
class ToolOutput(Model):
    """The output of one tool call."""

    tool_call_id: str
    output: str


class ToolOutputParam(TypedDict, total=False):
    """`ToolOutput` as JSON."""

    tool_call_id: Required[str]
    output: str
