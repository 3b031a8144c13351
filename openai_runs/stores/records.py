"""The records of a store: the API's objects with their owners, and what the engine keeps of runs and requests."""

from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

from attrs import frozen

from openai_runs.models.assistant import Assistant
from openai_runs.models.message import Message
from openai_runs.models.model import Model
from openai_runs.models.run import Run, Usage
from openai_runs.models.run_step import RunStep
from openai_runs.models.thread import Thread
from openai_runs.models.tool import ToolResources

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


Stored: TypeAlias = Assistant | Thread | Message | Run | RunStep | RunState | UsedKey
StoredT_co = TypeVar("StoredT_co", bound=Stored, covariant=True)


@frozen
class Record(Generic[StoredT_co]):
    """An object and its owner."""

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
    """Deletes an object, if it exists; with a thread, its messages, runs, run steps and run states."""

    kind: type[Any]
    id: str


#: One change of a commit: put an object, replacing the one with its ID if there is one, or delete an object. A
#: `UsedKey` does not replace one: see `Store.commit`.
Change: TypeAlias = Record[Any] | Delete


@frozen
class PageQuery:
    """A page of a list, in order of creation, which is not that of ``created_at``: many objects share a second."""

    limit: int = 20  #: 1 to 100
    order: Literal["asc", "desc"] = "desc"  #: ``desc``: the newest first
    after: str | None = None  #: an object ID: start after it
    before: str | None = None  #: an object ID: stop before it
