"""`RequestOptions`, which every method has that sends one request; and with them the keywords of these methods."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from openai_runs.models.assistant import AssistantCreateParams, AssistantUpdateParams
from openai_runs.models.file import FileCreateParams, FileListParams
from openai_runs.models.message import MessageCreateParams, MessageUpdateParams
from openai_runs.models.page import ListParams, MessageListParams
from openai_runs.models.run import RunCreateParams, RunUpdateParams, ThreadRunCreateParams
from openai_runs.models.thread import ThreadCreateParams, ThreadUpdateParams
from openai_runs.models.vector_store import (
    VectorStoreCreateParams,
    VectorStoreFileBatchCreateParams,
    VectorStoreFileCreateParams,
    VectorStoreFileListParams,
    VectorStoreFileUpdateParams,
    VectorStoreSearchParams,
    VectorStoreUpdateParams,
)


class RequestOptions(TypedDict, total=False):
    """What one request has in place of, or in addition to, what all requests of its session have.

    They hold for the retries of the request, too, and for the requests that look whether it took effect.
    """

    timeout: float  #: seconds without a byte from the server after which the request fails
    extra_headers: Mapping[str, str]  #: override the session's, ``Authorization`` included
    extra_query: Mapping[str, str | float | Sequence[str]]  #: overrides parameters of the same name
    extra_body: Mapping[str, Any]  #: added to the JSON body as it is, unchecked; overrides parameters of the same name


class AssistantCreateRequest(AssistantCreateParams, RequestOptions, total=False):
    """Keywords of `AssistantsService.create`."""


class AssistantUpdateRequest(AssistantUpdateParams, RequestOptions, total=False):
    """Keywords of `AssistantsService.update`."""


class ThreadCreateRequest(ThreadCreateParams, RequestOptions, total=False):
    """Keywords of `ThreadsService.create`."""


class ThreadUpdateRequest(ThreadUpdateParams, RequestOptions, total=False):
    """Keywords of `ThreadsService.update`."""


class ThreadRunCreateRequest(ThreadRunCreateParams, RequestOptions, total=False):
    """Keywords of `ThreadsService.create_and_run`."""


class MessageCreateRequest(MessageCreateParams, RequestOptions, total=False):
    """Keywords of `MessagesService.create`."""


class MessageUpdateRequest(MessageUpdateParams, RequestOptions, total=False):
    """Keywords of `MessagesService.update`."""


class RunCreateRequest(RunCreateParams, RequestOptions, total=False):
    """Keywords of `RunsService.create`."""


class RunUpdateRequest(RunUpdateParams, RequestOptions, total=False):
    """Keywords of `RunsService.update`."""


class ListRequest(ListParams, RequestOptions, total=False):
    """Keywords of every ``list``; the options hold for each page."""


class MessageListRequest(MessageListParams, RequestOptions, total=False):
    """Keywords of `MessagesService.list`; the options hold for each page."""


class FileCreateRequest(FileCreateParams, RequestOptions, total=False):
    """Keywords of `FilesService.create`."""


class FileListRequest(FileListParams, RequestOptions, total=False):
    """Keywords of `FilesService.list`; the options hold for each page."""


class VectorStoreCreateRequest(VectorStoreCreateParams, RequestOptions, total=False):
    """Keywords of `VectorStoresService.create`."""


class VectorStoreUpdateRequest(VectorStoreUpdateParams, RequestOptions, total=False):
    """Keywords of `VectorStoresService.update`."""


class VectorStoreSearchRequest(VectorStoreSearchParams, RequestOptions, total=False):
    """Keywords of `VectorStoresService.search`."""


class VectorStoreFileCreateRequest(VectorStoreFileCreateParams, RequestOptions, total=False):
    """Keywords of `VectorStoreFilesService.create`."""


class VectorStoreFileUpdateRequest(VectorStoreFileUpdateParams, RequestOptions, total=False):
    """Keywords of `VectorStoreFilesService.update`."""


class VectorStoreFileListRequest(VectorStoreFileListParams, RequestOptions, total=False):
    """Keywords of `VectorStoreFilesService.list` and `VectorStoreFileBatchesService.list_files`."""


class VectorStoreFileBatchCreateRequest(VectorStoreFileBatchCreateParams, RequestOptions, total=False):
    """Keywords of `VectorStoreFileBatchesService.create`."""
