"""The options of commands that run jobs, and what becomes of them."""

from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer
from attrs import frozen

from openai_runs.following.polling import Polling
from openai_runs.toolbox import Toolbox

if TYPE_CHECKING:
    from openai_runs.batch.durable import WorkOptions

Workers: TypeAlias = Annotated[int, typer.Option(min=1, help="How many runs this process has in progress at once.")]
Rpm: TypeAlias = Annotated[
    float | None, typer.Option(min=0.001, help="Requests a minute, polls included. Unset: what the endpoint says.")
]
Tpm: TypeAlias = Annotated[
    float | None, typer.Option(min=0.001, help="Tokens a minute. Unset: what the endpoint says.")
]
Deadline: TypeAlias = Annotated[
    float | None, typer.Option(min=0.001, help="Seconds for each attempt of a job. Unset: none.")
]
Outage: TypeAlias = Annotated[
    float,
    typer.Option(
        min=0, help="Seconds for which the endpoint may be unreachable. Until then no job fails for that, or is begun."
    ),
]
#: Seconds; longer than a session's user would wait: nobody sits in front of a batch.
OUTAGE: Final = 600.0


@frozen(kw_only=True)
class Work:
    """How jobs are run."""

    toolbox: Toolbox | None
    workers: int
    at_once: int | None = None
    rpm: float | None
    tpm: float | None
    deadline: float | None
    outage: float

    @property
    def polling(self) -> Polling:
        """How often runs are polled, and for how long an outage is borne."""
        return Polling(outage=self.outage)

    def durable(self) -> "WorkOptions":
        """The same for durable batches, where the limits are those of all processes together."""
        from openai_runs.batch.durable import SharedLimits

        return {
            "toolbox": self.toolbox,
            "workers": self.workers,
            "at_once": self.at_once,
            "limits": SharedLimits(requests_per_minute=self.rpm, tokens_per_minute=self.tpm),
            "deadline": self.deadline,
            "polling": self.polling,
        }
