"""What an endpoint wants back with the tool calls of a round: the model's thoughts, mostly encrypted or signed. No I/O.

Without them some models refuse the outputs, and others think again. They are kept in the round's step, but clients do
not see them. Only the endpoint and the model that sent them get them back.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from openai_runs._evolving import evolve
from openai_runs.backends.model_backend import Replay
from openai_runs.models.run_step import RunStep

_KEY: Final = "openai_runs_replay"


def with_replay(step: RunStep, replay: Replay | None) -> RunStep:
    """Keep in a step what its endpoint wants back."""
    if replay is None:
        return step
    return evolve(step, extra={**step.extra, _KEY: {"source": replay.source, "items": list(replay.items)}})


def without_replay(step: RunStep) -> RunStep:
    """The step as clients see it."""
    if _KEY not in step.extra:
        return step
    return evolve(step, extra={name: value for name, value in step.extra.items() if name != _KEY})


def replay_items(step: RunStep, source: str) -> Sequence[Mapping[str, Any]]:
    """What a step keeps for this source; nothing if it came from another one."""
    kept = step.extra.get(_KEY)
    if not isinstance(kept, dict) or kept.get("source") != source:
        return ()
    items = kept.get("items")  # a step may have been imported, and so have anything here
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else ()
