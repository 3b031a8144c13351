"""`Memory`: what has come of a toolbox's calls, so that none is made twice; and which outputs were accepted."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, TypeAlias

from attrs import define, field, frozen

from openai_runs._origins import Notes, origin_of, tick
from openai_runs.models.tool import FunctionToolCall, ToolOutput
from openai_runs.toolbox.tool_thread import ToolThread

#: How many calls a toolbox remembers. Each is needed from its start until the endpoint has the output, and a little
#: longer by followers with an older snapshot of the same run; so this is far more than the runs that wait at one time.
_REMEMBERED: Final = 4096


@frozen
class Failure:
    """The outcome of a call without an output."""

    text: str  #: what went wrong, for the model and for logs
    cause: BaseException


Outcome: TypeAlias = str | Failure

#: Identifies a call: the run's ID, and the call's ID, function and arguments.
Key: TypeAlias = tuple[str | None, str, str, str]


@define(eq=False)
class _Entry:
    #: The outcome, or the thread that still runs the call after whoever waited has given up.
    known: Outcome | ToolThread
    #: The `tick` at which the endpoint accepted the output, and the run went on.
    settled_at: int | None = field(default=None, init=False)


#: For each output of any toolbox, what it is the output of.
_entries: Final[Notes[_Entry]] = Notes()


def settle(outputs: Iterable[object]) -> None:
    """Note that the run has gone on with these outputs, or without them: their round is over.

    If the same run asks for the same call again in a newer snapshot, that is a new call, though the ID is the same.
    """
    for output in outputs:
        if (entry := _entries.get(output)) is not None:
            entry.settled_at = tick()


def key_of(call: FunctionToolCall, run_id: str | None) -> Key:
    """What identifies a call. A call that stands in a `Run` knows the run's ID itself."""
    if run_id is None and (origin := origin_of(call)) is not None:
        run_id = origin.run_id
    return run_id, call.id, call.function.name, call.function.arguments


class Memory:
    """The latest calls of one toolbox."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def recall(self, key: Key, call: FunctionToolCall) -> Outcome | ToolThread | None:
        """What is known of a call; ``None`` if nothing is, or only of an earlier call with the same ID."""
        if (entry := self._entries.get(key)) is None:
            return None
        origin = origin_of(call)
        # An older snapshot, such as another follower's, still means the earlier call.
        if entry.settled_at is not None and origin is not None and origin.seen_at > entry.settled_at:
            return None
        return entry.known

    def remember(self, key: Key, known: Outcome | ToolThread) -> None:
        """Remember the outcome of a call or the thread that runs it, instead of what was known before."""
        self.forget(key)
        self._entries[key] = _Entry(known)
        if len(self._entries) > _REMEMBERED:
            self.forget(next(iter(self._entries)))

    def forget(self, key: Key) -> None:
        """Forget a call."""
        if (entry := self._entries.pop(key, None)) is not None and isinstance(entry.known, ToolThread):
            entry.known.abandon()

    def output(self, key: Key, call: FunctionToolCall, text: str) -> ToolOutput:
        """Make the output of a call, by which `settle` finds it."""
        output = ToolOutput(tool_call_id=call.id, output=text)
        if (entry := self._entries.get(key)) is not None:
            _entries.add(output, entry)
        return output
