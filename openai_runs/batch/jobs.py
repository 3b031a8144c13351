"""`RunJob` and `BatchResult`: what goes into a batch, and what comes out of it."""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from datetime import datetime

from attrs import field, frozen

from openai_runs.models.message import Message
from openai_runs.models.run import Run, RunCreateParams, RunStatus, Usage
from openai_runs.models.thread import ThreadCreateParams
from openai_runs.models.tool import ToolResources, ToolResourcesParams


class RunJob(RunCreateParams, total=False):
    """The parameters of one run.

    With ``thread_id``, those of `RunCreateParams`: the run is started on that thread. Without it, those of
    `ThreadRunCreateParams`: the run is started on a new thread.
    """

    #: A name of your own for the job, which its result has, too; it is not sent.
    key: str
    #: A key of your own for the job: with it, a repetition of the job starts no second run, also in another batch or
    #: process, where the endpoint honours idempotency keys. See `RunsService.create`. A run that is started in the
    #: place of one that failed has a key that is made of it.
    idempotency_key: str
    #: The IDs of the thread and the run with which an earlier batch has tried the job; they are not sent. The run is
    #: looked at first: if it has completed, it is the job's; if it is unfinished, it is followed; and if it has ended
    #: otherwise or is not there, another one is started. Not for durable batches, which know their runs.
    earlier_run: tuple[str, str]
    thread_id: str
    thread: ThreadCreateParams
    tool_resources: ToolResources | ToolResourcesParams | None


@frozen
class BatchResult:
    """The result of one job."""

    index: int  #: the job's position in the source, from 0
    job: RunJob
    run: Run | None = None  #: the latest snapshot of the latest attempt; ``None`` if its run could not be started
    error: Exception | None = None  #: why the job did not succeed
    key: str | None = field(default=None, kw_only=True)  #: the job's
    #: The answer: the text of the assistant's messages, with an empty line between two. ``None`` if the run did not
    #: complete, or if messages are not fetched.
    text: str | None = field(default=None, kw_only=True)
    messages: tuple[Message, ...] = field(default=(), kw_only=True)  #: the assistant's, of this run, oldest first
    usage: Usage | None = field(default=None, kw_only=True)  #: tokens of all attempts, as far as the server has told
    attempts: int = field(default=0, kw_only=True)  #: how often the job was tried; 0 if it was taken and not started
    started_at: datetime | None = field(default=None, kw_only=True)  #: of the first attempt; aware, UTC
    ended_at: datetime | None = field(default=None, kw_only=True)  #: of the last attempt; aware, UTC

    @property
    def ok(self) -> bool:
        """Whether the run completed, and its messages, if they are wanted, were fetched."""
        return self.error is None and has_completed(self.run)


def has_completed(run: Run | None) -> bool:
    """Whether there is a run, and it has completed."""
    return run is not None and run.status is RunStatus.COMPLETED


async def iterate(jobs: Iterable[RunJob] | AsyncIterable[RunJob]) -> AsyncGenerator[RunJob, None]:
    """The jobs of a source of either kind, which is read no faster than they are taken."""
    if isinstance(jobs, AsyncIterable):
        async for job in jobs:
            yield job
    else:
        for job in jobs:
            yield job


def join_texts(messages: Iterable[Message]) -> str:
    """The text of an answer that may have several messages."""
    return "\n\n".join(message.text for message in messages if message.text)


def add_usage(one: Usage | None, other: Usage | None) -> Usage | None:
    """The tokens of two runs together, either of which may be unknown."""
    if one is None or other is None:
        return one or other
    return Usage(
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        completion_tokens=one.completion_tokens + other.completion_tokens,
        total_tokens=one.total_tokens + other.total_tokens,
    )
