"""How a process runs the jobs of a database: the options of `DurableBatches.open` and `work`, defined once."""

from typing import Any, TypedDict

from attrs import field, frozen

from openai_runs._arguments import check_count, check_seconds
from openai_runs.batch.durable.shared_limits import SharedLimits
from openai_runs.batch.repeating import JobRetries
from openai_runs.following.polling import Polling
from openai_runs.toolbox import Toolbox


class WorkOptions(TypedDict, total=False):
    """How a process runs the jobs of a database; each key may be left out."""

    toolbox: Toolbox | None  #: answers tool calls; all workers of a database need the same tools
    #: How many jobs a process may run at once, at least 1; by default 8. This limit and the next two are those of the
    #: database: if processes open it with different ones, the latest hold for all.
    workers: int
    at_once: int | None  #: how many jobs all processes together may run at once; ``None``, the default, for no limit
    limits: SharedLimits | None  #: how many requests, runs and tokens a minute all processes together may use
    #: Seconds for each attempt of a job, from when the request that starts its run is sent, and also if another worker
    #: goes on with it; ``None``, the default, for no limit. A run that has not ended by then is cancelled, and its job
    #: ends with a `RunDeadlineError`. All workers of a database need the same one.
    deadline: float | None
    retries: JobRetries  #: which jobs are tried again, and when; a job that waits for that counts as running
    fetch_messages: bool  #: whether to fetch the answer of each run, in one more request; yes, by default
    polling: Polling  #: how often each run is polled, and for how long an unreachable endpoint is tolerated


def _count(_: object, attribute: Any, value: Any) -> None:
    check_count(attribute.name, value, least=1)


def _at_once(options: "WorkSettings", _: object, value: Any) -> None:
    if value is not None:
        check_count("at_once", value, least=options.workers)


def _seconds(_: object, attribute: Any, value: object) -> None:
    check_seconds(attribute.name, value, zero=True, none=True)


@frozen(kw_only=True)
class WorkSettings:
    """`WorkOptions`, checked, and with what was left out."""

    toolbox: Toolbox | None = None
    workers: int = field(default=8, validator=_count)
    at_once: int | None = field(default=None, validator=_at_once)
    limits: SharedLimits | None = None
    deadline: float | None = field(default=None, validator=_seconds)
    retries: JobRetries = JobRetries()
    fetch_messages: bool = True
    polling: Polling = Polling()
