"""The API's stream events as values, and the interface of their receivers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from attrs import define

from openai_runs.models.model import Model
from openai_runs.models.run import Run


class ApiEvent(msgspec.Struct, frozen=True):
    """A stream event of the API: its name, and the object as it was then; the data of a delta is a JSON object."""

    # One is made for each token, and a frozen class of attrs takes five times as long to fill.

    name: str
    data: Model | Mapping[str, Any]


@define(eq=False)
class TextPiece(Mapping[str, Any]):
    """The delta of a message for a further piece of one of its texts. There is one for each token.

    The API's JSON object is made only if somebody looks at it.
    """

    message_id: str
    index: int  #: of the text in the message
    value: str
    source: object  #: the text, the same object for all of its pieces

    def json(self) -> dict[str, Any]:
        """The API's object."""
        part = {"index": self.index, "type": "text", "text": {"value": self.value}}
        return {"id": self.message_id, "object": "thread.message.delta", "delta": {"content": [part]}}

    def __getitem__(self, name: str) -> Any:
        return self.json()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.json())

    def __len__(self) -> int:
        return len(self.json())


class Subscriber(Protocol):
    """Receives the events of one run, from the time it subscribes."""

    def receive(self, events: Sequence[ApiEvent]) -> None:
        """Receive the next events, in order. The engine's tasks call it, so it must not block or raise."""

    def break_off(self) -> None:
        """Receive nothing more, although the run goes on: what is executed elsewhere cannot be heard any more."""


class Watcher(Protocol):
    """Hears of each change of an owner's runs."""

    def note(self, run: Run) -> None:
        """Note what a run is now. The engine's tasks call it, so it must not block or raise."""

    def break_off(self) -> None:
        """Note that changes were missed: whoever watches has to begin anew."""


class Relay(Protocol):
    """Tells other servers on the same store. What it does must not block or raise."""

    def publish(self, run_id: str, events: Sequence[ApiEvent]) -> None:
        """Pass the events of a run on to the server that asked for them, if any did."""

    def changed(self, owner: str, run: Run) -> None:
        """Tell all servers that a run has changed."""

    @property
    def tells(self) -> int:
        """How often runs have been told here that others have changed."""
        ...

    def was_told(self, run_id: str, since: int) -> bool:
        """Whether a run was, after so many; if so, it is told again soon."""
        ...
