"""Files: what a caller has uploaded, for vector stores and tools."""

import os
from collections.abc import AsyncIterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, BinaryIO, Literal, Required, TypeAlias, TypedDict

from attrs import field, frozen

from openai_runs.models.limits import ID, OneOf, Range
from openai_runs.models.model import NEEDED, Model
from openai_runs.models.open_enum import OpenEnum
from openai_runs.models.request_options import RequestOptions


class FilePurpose(OpenEnum, StrEnum):
    """What a file is for. Open: an unknown value stays readable."""

    ASSISTANTS = "assistants"
    ASSISTANTS_OUTPUT = "assistants_output"
    BATCH = "batch"
    BATCH_OUTPUT = "batch_output"
    EVALS = "evals"
    FINE_TUNE = "fine-tune"
    FINE_TUNE_RESULTS = "fine-tune-results"
    USER_DATA = "user_data"
    VISION = "vision"


class FileStatus(OpenEnum, StrEnum):
    """Whether a file can be used. The API calls it deprecated, and still sends it. Open, too."""

    UPLOADED = "uploaded"
    PROCESSED = "processed"
    ERROR = "error"


@frozen(kw_only=True, repr=False)
class File(Model):
    """An uploaded file, without its content. Source: ``OpenAIFile``."""

    id: str = field(metadata=NEEDED)
    object: str = "file"
    bytes: int  #: the size of its content
    created_at: datetime  #: aware, UTC; Unix seconds on the wire
    expires_at: datetime | None = None  #: when the server deletes it; unset: never
    filename: str
    purpose: FilePurpose
    status: FileStatus
    status_details: str | None = None


#: What can be uploaded: bytes, the file at a path, a file opened in binary mode, or pieces as they come. The last, and
#: an open file that cannot seek, can be sent only once.
FileSource: TypeAlias = bytes | os.PathLike[str] | BinaryIO | AsyncIterable[bytes]

#: The purposes of files that callers upload; the others are those of files that an endpoint makes.
UploadPurpose: TypeAlias = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]


class FileExpirationParam(TypedDict):
    """When a file expires: so many seconds after its creation, 1 hour to 30 days. Source: ``FileExpirationAfter``."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Range(3600, 2_592_000)]


class FileCreateParams(TypedDict, total=False):
    """Body of ``createFile``, beside the file itself."""

    purpose: Required[UploadPurpose]
    expires_after: FileExpirationParam


class FileCreateRequest(FileCreateParams, RequestOptions, total=False):
    """Keywords of `FilesService.create`."""


class FileListParams(TypedDict, total=False):
    """Query of ``listFiles``. A key left out is not sent."""

    purpose: Annotated[str, ID]  #: only files for this purpose
    limit: Annotated[int, Range(1, 10_000)]  #: items per page, 10,000 by default
    order: Annotated[Literal["asc", "desc"], OneOf(("asc", "desc"))]  #: by ``created_at``, newest first by default
    after: Annotated[str, ID]  #: a file's ID: start after it


class FileListRequest(FileListParams, RequestOptions, total=False):
    """Keywords of `FilesService.list`; the options hold for each page."""
