"""How a run is followed: the options of `follow`, `complete` and `stream`, defined once."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, TypedDict

from openai_runs._habits import TOOLBOX_AS_TOOLS
from openai_runs.following.polling import Polling
from openai_runs.models.request_options import RequestOptions
from openai_runs.models.run import RunCreateRequest, ThreadRunCreateRequest
from openai_runs.models.tool import ToolSource
from openai_runs.toolbox import Toolbox

OnExit: TypeAlias = Literal["leave", "cancel"]


class FollowOptions(TypedDict, total=False):
    """How a run is followed; each key may be left out."""

    #: Answers tool calls. Without one, the caller has to answer each `ActionRequired`.
    toolbox: Toolbox | None
    #: Seconds for the whole run, from the first event asked for, or from opening a stream; ``None``, the default, for
    #: no limit. When they have passed, the run is looked at once more, and cancelled if ``on_exit`` says so; that takes
    #: at most five seconds. A run that has completed by then counts as completed.
    deadline: float | None
    polling: Polling  #: how often to poll, and for how long to tolerate an unreachable endpoint
    #: What to do with an unfinished run when following stops by an error, a deadline, cancellation, or before the
    #: iteration has ended: ``"leave"`` it running, the default, or ``"cancel"`` it. A run that is still being started
    #: is looked for, for five seconds. A stream that ends because the run requires tool outputs does not cancel it.
    on_exit: OnExit


class StreamOptions(FollowOptions, RequestOptions, total=False):
    """Keywords of `RunsService.stream_tool_outputs`: those of `FollowOptions` and of `RequestOptions`."""


class RunStreamParams(RunCreateRequest, FollowOptions, total=False):
    """Keywords of `RunsService.stream`: those of `RunCreateParams`, of `FollowOptions` and of `RequestOptions`."""


class ThreadRunStreamParams(ThreadRunCreateRequest, FollowOptions, total=False):
    """Keywords of `ThreadsService.stream_run`: as for `RunsService.stream`, with those of `ThreadRunCreateParams`."""


def split_options(params: Mapping[str, Any]) -> tuple[dict[str, Any], FollowOptions]:
    """Split the parameters of `RunsService.stream` into the rest and the `FollowOptions`."""
    options: Any = {name: value for name, value in params.items() if name in FollowOptions.__annotations__}
    return {name: value for name, value in params.items() if name not in options}, options


def hint_unanswered(params: Mapping[str, Any]) -> str:
    """What to tell somebody whose run waits for tool outputs; empty if the caller seems to know."""
    is_habit = isinstance(params.get("tools"), ToolSource) and params.get("toolbox") is None
    return TOOLBOX_AS_TOOLS if is_habit else ""


def check_on_exit(on_exit: OnExit) -> None:
    """Check an ``on_exit``.

    Raises:
        ValueError: It is neither ``"leave"`` nor ``"cancel"``.
    """
    if on_exit not in ("leave", "cancel"):
        raise ValueError(f"on_exit must be 'leave' or 'cancel': got {on_exit!r}")
