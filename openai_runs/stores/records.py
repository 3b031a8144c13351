"""The records of a store: the API's objects with their owners, and what the engine keeps of runs and requests."""

from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

import msgspec
from attrs import frozen

from openai_runs.models.assistant import Assistant
from openai_runs.models.file import File
from openai_runs.models.message import Message
from openai_runs.models.model import Model
from openai_runs.models.run import Run, Usage
from openai_runs.models.run_step import RunStep
from openai_runs.models.thread import Thread
from openai_runs.models.tool import ToolResources
from openai_runs.models.vector_store import VectorStore, VectorStoreFile, VectorStoreFileBatch

NO_USAGE: Final = Usage()

#: Bytes of a page, as JSON. It ends before the object that would reach this, but has at least one object.
PAGE_BYTES: Final = 8 * 2**20
#: Bytes of a thread's history for a model call, as JSON: about sixteen million tokens, more than any model accepts.
MAX_HISTORY: Final = 64 * 2**20


@frozen(kw_only=True, repr=False)
class RunState(Model):
    """The state of an unfinished run that the API does not show.

    It is stored under the run's ID and deleted when the run ends, so exactly the unfinished runs have one.
    """

    id: str  #: the run's ID
    thread_id: str
    deadline: float  #: Unix seconds; ``expires_at`` is this in whole seconds
    temperature: float | None = None  #: as requested; if not requested, the run shows the API's default
    top_p: float | None = None  #: likewise
    reasoning_effort: str | None = None
    tool_resources: ToolResources | None = None  #: those of the run, the thread and the assistant
    assistant_name: str | None = None  #: when the run was created; for those who watch runs
    shows_search_content: bool = False  #: whether the run's events have what file search found, as ``include[]`` asks
    usage: Usage = NO_USAGE  #: of the model calls that have ended
    #: IDs of the steps of the current model call, or of the one whose tool calls are pending. A retry reuses them.
    steps: tuple[str, ...] = ()
    step_usage: Usage | None = None  #: of the step whose tool calls are pending
    handle: str | None = None  #: of the model call, if it continues at the endpoint without us
    previous: str | None = None  #: the handle of the call before it, whose tool calls have been answered


@frozen(kw_only=True, repr=False)
class UsedKey(Model):
    """An idempotency key that was used: the request it came with, and the object that this request created.

    It is stored in the same commit as that object, never changed, and deleted by the engine when it is old. It stays
    when its object is deleted, so that a late repetition of the request does not create another one.
    """

    id: str  #: a hash of the key, the owner and the operation
    fingerprint: str  #: a hash of the request's body
    used_at: float  #: Unix seconds
    kind: str  #: the created object's ``object``
    object_id: str


@frozen(kw_only=True, repr=False)
class VectorStoreEntry(Model):
    """A file in a vector store. The API's object has the ID of the file, which may be in several stores."""

    id: str  #: see `entry_id`
    vector_store_id: str
    file: VectorStoreFile  #: as the API shows it
    batch_ids: tuple[str, ...] = ()  #: of the batches that wait until it is processed


@frozen(kw_only=True, repr=False)
class FileUse(Model):
    """That a file is in a vector store: the way back from the file, under the ID of the `VectorStoreEntry`."""

    id: str
    file_id: str
    vector_store_id: str


@frozen(kw_only=True, repr=False)
class BatchFiles(Model):
    """The files of a batch, in order. They are not in the batch itself, which changes with each of them."""

    id: str  #: the batch's ID
    vector_store_id: str
    file_ids: tuple[str, ...]


@frozen(kw_only=True, repr=False)
class IndexJob(Model):
    """Work that the index of vector stores has yet to do; deleted when it is done.

    Its ID is that of an entry or of a vector store, so that a later job replaces one that has become pointless.
    """

    id: str
    vector_store_id: str
    file_id: str | None = None  #: unset: all files of a vector store that was deleted
    is_ingestion: bool = False  #: otherwise the index is to forget
    number: str  #: of this job: another one under the same ID has another


@frozen(kw_only=True, repr=False)
class EndpointObject(Model):
    """What an owner has created at the model's endpoint, which knows one key and no owners.

    It is stored before the owner hears of the object, and deleted when the owner has deleted that.
    """

    id: str  #: as the endpoint gave it
    kind: str  #: the object's ``object``: a file, a vector store, or a batch of files
    vector_store_id: str | None = None  #: of a batch


@frozen(kw_only=True, repr=False)
class SpentTokens(Model):
    """The tokens that runs of one day have used whose thread was deleted, so that they go on counting on that day.

    They are stored in the commit that deletes the thread, and deleted by the engine when the day is over.
    """

    id: str  #: the thread's ID
    day: float  #: when the day begins, in Unix seconds
    tokens: int


def entry_id(vector_store_id: str, file_id: str) -> str:
    """The ID under which a store keeps a file of a vector store."""
    return f"{vector_store_id}/{file_id}"


Stored: TypeAlias = (
    Assistant
    | Thread
    | Message
    | Run
    | RunStep
    | File
    | VectorStore
    | VectorStoreEntry
    | VectorStoreFileBatch
    | BatchFiles
    | FileUse
    | IndexJob
    | EndpointObject
    | RunState
    | UsedKey
    | SpentTokens
)
#: Kinds that no client pages through. What is deleted of them is no cursor, and takes no cursor's place.
INTERNAL: Final = (UsedKey, IndexJob, FileUse, BatchFiles, SpentTokens)
StoredT_co = TypeVar("StoredT_co", bound=Stored, covariant=True)


class Record(msgspec.Struct, Generic[StoredT_co], frozen=True):
    """An object and its owner."""

    # A run makes a dozen, and a frozen class of attrs takes five times as long to fill.

    owner: str  #: the label of the API key; empty if the server has no keys
    value: StoredT_co


@frozen
class Unreadable:
    """A run state in the store that cannot be read."""

    owner: str
    id: str  #: the run's ID
    reason: str


@frozen
class Delete:
    """Deletes an object, if it exists; with a thread, its messages, runs, run steps and run states.

    With a vector store go its entries, and what belongs to those: batches, uses of files, and jobs for the index.
    """

    kind: type[Any]
    id: str


@frozen(kw_only=True)
class Claim:
    """Says which server executes an unfinished run from now on; only for a store that several servers share."""

    id: str  #: the run's ID
    is_mine: bool = False  #: whether this server executes it; otherwise nobody does
    is_waiting: bool = False  #: whether it waits for tool outputs, so that nobody is to execute it
    reads: bool | None = None  #: whether this server sends its events to a client; unset: as before


#: One change of a commit: put an object, replacing the one with its ID if there is one, or delete an object. A
#: `UsedKey` does not replace one: see `Store.commit`.
Change: TypeAlias = Record[Any] | Delete | Claim


@frozen
class PageQuery:
    """A page of a list, in order of creation, which is not that of ``created_at``: many objects share a second."""

    limit: int = 20  #: 1 to 100, of files to 10,000
    order: Literal["asc", "desc"] = "desc"  #: ``desc``: the newest first
    after: str | None = None  #: an object ID: start after it
    before: str | None = None  #: an object ID: stop before it
