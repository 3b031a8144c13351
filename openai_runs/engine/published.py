"""What is told of a run: the API's stream events, as values."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from attrs import frozen

from openai_runs.models.model import Model


@frozen
class Published:
    """A stream event of the API: its name, and the object as it was then; deltas are JSON objects."""

    name: str
    data: Model | Mapping[str, Any]


#: Is told a run's ID and what happened to that run, in order. Called from the engine's tasks: must not block or fail.
OnEvents: TypeAlias = Callable[[str, Sequence[Published]], None]


class Listener(Protocol):
    """Whoever wants to know what happens to one run from now on."""

    def hear(self, events: Sequence[Published]) -> None:
        """Be told what has happened, in order. Called from the engine's tasks: must not block or fail."""
