"""What is told of a run: the API's stream events, as values."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from attrs import frozen

from openai_runs.models.model import Model


@frozen
class ApiEvent:
    """A stream event of the API: its name, and the object as it was then; deltas are JSON objects."""

    name: str
    data: Model | Mapping[str, Any]


class Subscriber(Protocol):
    """Whoever wants to know what happens to one run from now on."""

    def receive(self, events: Sequence[ApiEvent]) -> None:
        """Be told what has happened, in order. Called from the engine's tasks: must not block or fail."""
