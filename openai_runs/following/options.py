"""How a run is followed: the options of `follow`, `complete` and `stream`, spelled once."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, TypedDict

from openai_runs.following.polling import Polling
from openai_runs.models.run import RunCreateParams, ThreadRunCreateParams
from openai_runs.toolbox import Toolbox

OnExit: TypeAlias = Literal["leave", "cancel"]


class FollowOptions(TypedDict, total=False):
    """How a run is followed; each key may be left out."""

    #: Answers tool calls. Without one, `ActionRequired` is for the caller to answer.
    toolbox: Toolbox | None
    deadline: (
        float | None
    )  #: seconds for all of it, from the first event asked for; ``None``, the default, for no limit
    polling: Polling  #: how often to ask, and for how long to bear an endpoint that is out of reach
    #: What becomes of an unfinished run when it is left, by an error, a deadline or cancellation: ``"leave"`` it, which
    #: is the default, or ``"cancel"`` it.
    on_exit: OnExit


class RunStreamParams(RunCreateParams, FollowOptions, total=False):
    """Parameters of `RunsService.stream`: those of `RunCreateParams` and of `FollowOptions`."""


class ThreadRunStreamParams(ThreadRunCreateParams, FollowOptions, total=False):
    """Parameters of `ThreadsService.stream_run`: those of `ThreadRunCreateParams` and of `FollowOptions`."""


def split_options(params: Mapping[str, Any]) -> tuple[dict[str, Any], FollowOptions]:
    """Tell the parameters of a request from how its run is followed."""
    options: Any = {name: value for name, value in params.items() if name in FollowOptions.__annotations__}
    return {name: value for name, value in params.items() if name not in options}, options


def check_on_exit(on_exit: OnExit) -> None:
    """Refuse what is not one of the two words.

    Raises:
        ValueError: It is not.
    """
    if on_exit not in ("leave", "cancel"):
        raise ValueError(f"on_exit must be 'leave' or 'cancel': got {on_exit!r}")
