"""`RunJob` and `BatchResult`: what goes into a batch, and what comes out of it."""

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Literal, TypedDict

from attrs import field, frozen

from openai_runs import _wire
from openai_runs.models.message import Message
from openai_runs.models.run import Run, RunCreateParams, RunStatus, Usage
from openai_runs.models.thread import ThreadCreateParams
from openai_runs.models.tool import ToolResources, ToolResourcesParams

#: What of a job says which one it is, or what it costs, and not what it asks for.
_NOT_ASKED: Final = frozenset({"key", "idempotency_key", "earlier_run", "completion_window"})


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
    #: otherwise or is not there, another one is started. A durable batch knows its own runs; this is for another's.
    earlier_run: tuple[str, str]
    thread_id: str
    thread: ThreadCreateParams
    tool_resources: ToolResources | ToolResourcesParams | None


class ResultRow(TypedDict):
    """A result as a row of a table: plain values, in the same columns for each result. What is not known is ``None``.

    A line of a file of results has them, too, with tokens and error in an object each; see `BatchResult.row`.
    """

    index: int  #: the job's position in the source, from 0; not in a file of results
    key: str | None  #: the job's
    status: Literal["completed", "failed"]  #: ``completed`` if the result is `BatchResult.ok`
    text: str | None  #: the answer
    prompt_tokens: int | None  #: of all attempts, as are the next two
    completion_tokens: int | None
    total_tokens: int | None
    attempts: int  #: how often the job was tried
    error: str | None  #: the class of the error, such as ``RunFailedError``
    error_message: str | None
    maybe_done: bool  #: whether the error leaves in doubt what the job has done
    run_id: str | None  #: of the latest attempt
    thread_id: str | None
    started_at: datetime | None  #: of the first attempt; aware, UTC
    ended_at: datetime | None  #: of the last attempt; aware, UTC
    seconds: float | None  #: from one to the other, waits for the next attempt included; not in a file of results


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

    def row(self) -> ResultRow:
        """The result as a row of a table: ``pandas.DataFrame([result.row() for result in results])``."""
        usage, error, started_at, ended_at = self.usage, self.error, self.started_at, self.ended_at
        # A run that could not be looked at is still the one that the job has.
        given: Any = self.job
        job = given if isinstance(given, Mapping) else {}  # another one is refused, and has its result
        earlier = job.get("earlier_run", (job.get("thread_id"), None))
        thread_id, run_id = earlier if self.run is None else (self.run.thread_id, self.run.id)
        return {
            "index": self.index,
            "key": self.key,
            "status": "completed" if self.ok else "failed",
            "text": self.text,
            "prompt_tokens": None if usage is None else usage.prompt_tokens,
            "completion_tokens": None if usage is None else usage.completion_tokens,
            "total_tokens": None if usage is None else usage.total_tokens,
            "attempts": self.attempts,
            "error": None if error is None else type(error).__name__,
            "error_message": None if error is None else str(error),
            "maybe_done": getattr(error, "maybe_done", False),
            "run_id": run_id,
            "thread_id": thread_id,
            "started_at": started_at,
            "ended_at": ended_at,
            "seconds": None if started_at is None or ended_at is None else (ended_at - started_at).total_seconds(),
        }

    def _repr_html_(self) -> str:
        """The row as a table, which notebooks show, with the answer's line breaks."""
        from openai_runs.models.notebook import facts_html

        facts = [(name.replace("_", " "), value) for name, value in self.row().items() if name != "text"]
        return facts_html(facts, () if self.text is None else [("text", self.text)])


def fingerprint(job: RunJob) -> str | None:
    """What a job asks for, in 16 characters: the same ones for the same parameters, whatever their order.

    The key, the idempotency key, an earlier run and the completion window do not count. ``None`` for a job that is not
    JSON, which cannot be run either.
    """
    try:
        asked = _wire.dump({name: value for name, value in job.items() if name not in _NOT_ASKED})
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
    except Exception:  # of a caller's own objects, which may raise anything
        return None


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
