"""Vector stores: files that ``file_search`` searches, the files in them, and batches of such files."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Required, TypeAlias, TypedDict

from attrs import field, frozen

from openai_runs.models.limits import ATTRIBUTES, METADATA, Items, OneOf, Range
from openai_runs.models.model import NEEDED, Model, Unknown
from openai_runs.models.open_enum import OpenEnum
from openai_runs.models.page import ListParams
from openai_runs.models.request_options import RequestOptions
from openai_runs.models.tool import AutoChunking, StaticChunking


class VectorStoreStatus(OpenEnum, StrEnum):
    """The status of a vector store; ``completed`` means that all its files are ready. Open."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    EXPIRED = "expired"


class VectorStoreFileStatus(OpenEnum, StrEnum):
    """The status of a file in a vector store, or of a batch of them. Open."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


@frozen(kw_only=True, repr=False)
class FileCounts(Model):
    """How many files of a vector store, or of a batch, have each status."""

    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    total: int = 0


@frozen(kw_only=True, repr=False)
class VectorStoreExpiration(Model):
    """After how many days without use a vector store expires. Source: ``VectorStoreExpirationAfter``."""

    anchor: str = "last_active_at"
    days: int


@frozen(kw_only=True, repr=False)
class VectorStore(Model):
    """Files that can be searched. Source: ``VectorStoreObject``."""

    id: str = field(metadata=NEEDED)
    object: str = "vector_store"
    created_at: datetime  #: aware, UTC; Unix seconds on the wire
    name: str | None = None
    description: str | None = None  #: accepted by the API, and sent by it although its schema lacks it
    usage_bytes: int
    file_counts: FileCounts
    status: VectorStoreStatus
    expires_after: VectorStoreExpiration | None = None
    expires_at: datetime | None = None
    last_active_at: datetime | None = None
    metadata: Mapping[str, str] | None = field(default=None, hash=False)


@frozen(kw_only=True, repr=False)
class StaticChunkingStrategy(Model):
    """Sizes in tokens."""

    max_chunk_size_tokens: int
    chunk_overlap_tokens: int


@frozen(kw_only=True, repr=False)
class StaticChunkingShown(Model):
    """Chunks of a given size. Source: ``StaticChunkingStrategyResponseParam``."""

    type: Literal["static"] = "static"
    static: StaticChunkingStrategy


@frozen(kw_only=True, repr=False)
class OtherChunkingShown(Model):
    """Chunks of which the endpoint does not know how they were made."""

    type: Literal["other"] = "other"


ChunkingShown: TypeAlias = StaticChunkingShown | OtherChunkingShown | Unknown


@frozen(kw_only=True, repr=False)
class VectorStoreFileError(Model):
    """Why a file could not be processed."""

    code: str  #: ``server_error``, ``unsupported_file`` or ``invalid_file``
    message: str


#: What can be kept about a file in a vector store, and be filtered by.
AttributeValue: TypeAlias = str | float | bool


@frozen(kw_only=True, repr=False)
class VectorStoreFile(Model):
    """A file in a vector store. Source: ``VectorStoreFileObject``."""

    id: str = field(metadata=NEEDED)  #: that of the file itself
    object: str = "vector_store.file"
    usage_bytes: int
    created_at: datetime
    vector_store_id: str = field(metadata=NEEDED)
    status: VectorStoreFileStatus
    last_error: VectorStoreFileError | None = None
    chunking_strategy: ChunkingShown | None = None
    attributes: Mapping[str, Any] | None = field(default=None, hash=False)  #: each an `AttributeValue`


@frozen(kw_only=True, repr=False)
class VectorStoreFileBatch(Model):
    """Files that were added to a vector store together. Source: ``VectorStoreFileBatchObject``."""

    id: str = field(metadata=NEEDED)
    object: str = "vector_store.files_batch"
    created_at: datetime
    vector_store_id: str = field(metadata=NEEDED)
    status: VectorStoreFileStatus
    file_counts: FileCounts


@frozen(kw_only=True, repr=False)
class VectorStoreText(Model):
    """A passage of a file."""

    type: str = "text"
    text: str | None = None


@frozen(kw_only=True, repr=False)
class VectorStoreFileContent(Model):
    """What was read of a file. Source: ``VectorStoreFileContentResponse``."""

    object: str = "vector_store.file_content.page"
    data: tuple[VectorStoreText, ...] = ()
    has_more: bool = False
    next_page: str | None = None

    @property
    def text(self) -> str:
        """All passages, one after another."""
        return "\n".join(passage.text or "" for passage in self.data)


@frozen(kw_only=True, repr=False)
class VectorStoreSearchResult(Model):
    """A passage that fits a query. Source: ``VectorStoreSearchResultItem``."""

    file_id: str
    filename: str
    score: float  #: from 0 to 1
    attributes: Mapping[str, Any] | None = field(default=None, hash=False)
    content: tuple[VectorStoreText, ...] = ()


@frozen(kw_only=True, repr=False)
class VectorStoreSearchPage(Model):
    """What was found, the best first. Source: ``VectorStoreSearchResultsPage``."""

    object: str = "vector_store.search_results.page"
    search_query: tuple[str, ...] = ()
    data: tuple[VectorStoreSearchResult, ...] = ()
    has_more: bool = False
    next_page: str | None = None


class VectorStoreExpirationParam(TypedDict):
    """`VectorStoreExpiration` as JSON."""

    anchor: Literal["last_active_at"]
    days: Annotated[int, Range(1, 365)]


class VectorStoreCreateParams(TypedDict, total=False):
    """Body of ``createVectorStore``. A key left out is not sent."""

    file_ids: Annotated[Sequence[str], Items(500)]
    name: str
    description: str
    expires_after: VectorStoreExpirationParam
    chunking_strategy: AutoChunking | StaticChunking  #: of the files in ``file_ids``
    metadata: Annotated[dict[str, str] | None, METADATA]


class VectorStoreCreateRequest(VectorStoreCreateParams, RequestOptions, total=False):
    """Keywords of `VectorStoresService.create`."""


class VectorStoreUpdateParams(TypedDict, total=False):
    """Body of ``modifyVectorStore``. A key left out is not sent; ``None`` is sent as JSON ``null``."""

    name: str | None
    expires_after: VectorStoreExpirationParam | None
    metadata: Annotated[dict[str, str] | None, METADATA]


class VectorStoreUpdateRequest(VectorStoreUpdateParams, RequestOptions, total=False):
    """Keywords of `VectorStoresService.update`."""


class ComparisonFilter(TypedDict):
    """Compares an attribute of a file with a value."""

    type: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
    key: str
    value: str | float | bool | Sequence[str | float]


class CompoundFilter(TypedDict):
    """Combines filters, also other combinations, which are sent as they are."""

    type: Literal["and", "or"]
    filters: Sequence[ComparisonFilter | Mapping[str, Any]]


class SearchRankingOptions(TypedDict, total=False):
    """How results are ranked, and from which score on they are results."""

    ranker: Literal["none", "auto", "default-2024-11-15"]
    score_threshold: Annotated[float, Range(0, 1)]


class VectorStoreSearchParams(TypedDict, total=False):
    """Body of ``searchVectorStore``."""

    query: Required[str | Sequence[str]]
    rewrite_query: bool
    max_num_results: Annotated[int, Range(1, 50)]
    filters: ComparisonFilter | CompoundFilter
    ranking_options: SearchRankingOptions


class VectorStoreSearchRequest(VectorStoreSearchParams, RequestOptions, total=False):
    """Keywords of `VectorStoresService.search`."""


class VectorStoreFileUpdateParams(TypedDict):
    """Body of ``updateVectorStoreFileAttributes``."""

    attributes: Annotated[Mapping[str, AttributeValue] | None, ATTRIBUTES]


class VectorStoreFileUpdateRequest(VectorStoreFileUpdateParams, RequestOptions, total=False):
    """Keywords of `VectorStoreFilesService.update`."""


class _VectorStoreFileParams(TypedDict, total=False):
    chunking_strategy: AutoChunking | StaticChunking
    attributes: Annotated[Mapping[str, AttributeValue] | None, ATTRIBUTES]


class VectorStoreFileCreateParams(_VectorStoreFileParams, total=False):
    """Body of ``createVectorStoreFile``."""

    file_id: Required[str]


class VectorStoreFileCreateRequest(VectorStoreFileCreateParams, RequestOptions, total=False):
    """Keywords of `VectorStoreFilesService.create`."""


class VectorStoreFileBatchCreateParams(_VectorStoreFileParams, total=False):
    """Body of ``createVectorStoreFileBatch``: either IDs, or files with parameters of their own."""

    file_ids: Annotated[Sequence[str], Items(2000, 1)]
    files: Annotated[Sequence[VectorStoreFileCreateParams], Items(2000, 1)]


class VectorStoreFileBatchCreateRequest(VectorStoreFileBatchCreateParams, RequestOptions, total=False):
    """Keywords of `VectorStoreFileBatchesService.create`."""


class VectorStoreFileListParams(ListParams, total=False):
    """Query of ``listVectorStoreFiles`` and ``listFilesInVectorStoreBatch``."""

    #: only files with this status
    filter: Annotated[
        Literal["in_progress", "completed", "failed", "cancelled"],
        OneOf(("in_progress", "completed", "failed", "cancelled")),
    ]


class VectorStoreFileListRequest(VectorStoreFileListParams, RequestOptions, total=False):
    """Keywords of `VectorStoreFilesService.list` and `VectorStoreFileBatchesService.list_files`."""
