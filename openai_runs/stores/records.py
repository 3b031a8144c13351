"""What a store keeps: the API's objects, whose they are, and what the engine must know beside them."""

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

#: Of a page, as JSON: it ends before the object with which it would reach this; but it has one, whatever its size.
PAGE_BYTES: Final = 8 * 2**20
#: Bytes of what a model is told of a thread, as JSON: about sixteen million tokens, more than any model takes.
MAX_HISTORY: Final = 64 * 2**20


@frozen(kw_only=True, repr=False)
class RunState(Model):
    """What the engine must know of an unfinished run and the API does not show.

    Stored beside the run, under the run's ID, for as long as the run is unfinished: so the unfinished runs are those
    that have one.
    """

    id: str  #: the run's
    thread_id: str
    deadline: float  #: Unix seconds; ``expires_at`` is this in whole seconds
    temperature: float | None = None  #: as asked for; the run shows the API's default where nobody asked
    top_p: float | None = None  #: likewise
    reasoning_effort: str | None = None
    tool_resources: ToolResources | None = None  #: the run's, the thread's and the assistant's in one
    usage: Usage = NO_USAGE  #: of the model calls that have ended
    #: Steps of the model call that goes on, or of the one whose tool calls wait; so a repeated call makes no new ones.
    steps: tuple[str, ...] = ()
    step_usage: Usage | None = None  #: of the step that waits for tool outputs
    handle: str | None = None  #: of the model call, if it goes on at the endpoint without us


Stored: TypeAlias = Assistant | Thread | Message | Run | RunStep | RunState
StoredT_co = TypeVar("StoredT_co", bound=Stored, covariant=True)


@frozen
class Record(Generic[StoredT_co]):
    """An object and its owner."""

    owner: str  #: whoever the API key stands for; empty where there are no keys
    value: StoredT_co


@frozen
class Unreadable:
    """A run state that is in the store and cannot be read."""

    owner: str
    id: str  #: the run's
    reason: str


@frozen
class Delete:
    """An object that is to go; with a thread go its messages, runs, run steps and run states. Absent is fine."""

    kind: type[Any]
    id: str


#: One thing to be done in a commit: put an object, in place of the one with its ID if there is one, or delete one.
Change: TypeAlias = Record[Any] | Delete


@frozen
class PageQuery:
    """Which part of a list is wanted, in order of creation (which is not ``created_at``: many share a second)."""

    limit: int = 20  #: 1 to 100
    order: Literal["asc", "desc"] = "desc"  #: ``desc``: the newest first
    after: str | None = None  #: an object ID: start behind it
    before: str | None = None  #: an object ID: stop before it
