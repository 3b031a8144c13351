"""The API's stream events as values, and the interface of their receivers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from attrs import define, frozen

from openai_runs.models.model import Model
from openai_runs.models.run import Run


@frozen
class ApiEvent:
    """A stream event of the API: its name, and the object as it was then; the data of a delta is a JSON object."""

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


class Watcher(Protocol):
    """Hears of each change of an owner's runs."""

    def note(self, run: Run) -> None:
        """Note what a run is now. The engine's tasks call it, so it must not block or raise."""
