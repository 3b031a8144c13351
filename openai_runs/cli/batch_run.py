"""The command `openai-runs batch run`."""

import signal
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import anyio
import typer
from attrs import define, field
from rich.markup import escape

from openai_runs.batch.job_files import BadLine, JobFile
from openai_runs.batch.progress_bar import progress_bar
from openai_runs.batch.repeating import JobRetries
from openai_runs.batch.result_files import ResultFile, open_results
from openai_runs.batch.running import Batch, run_batch
from openai_runs.batch.saving import Saved, resumable, save_results, without_results
from openai_runs.cli.batch_output import FAILED, REFUSED, STOPPED, BadLines, report, say_incomplete, summarize
from openai_runs.cli.batch_run_durable import DurableFileBatch, DurableStore
from openai_runs.cli.durable_options import AtOnce, BatchName, check_at_once, check_name
from openai_runs.cli.endpoint_option import BaseUrl
from openai_runs.cli.job_options import (
    Assistant,
    CompletionWindow,
    Jobs,
    JobWorkers,
    Message,
    check_deadline,
    check_jobs,
    parse_message,
    worker_count,
)
from openai_runs.cli.results_option import check_out
from openai_runs.cli.terminal import errors, run
from openai_runs.cli.toolbox_option import Tools, check_functions, load_toolbox
from openai_runs.cli.work_options import OUTAGE, Deadline, Outage, Rpm, Tpm, Work
from openai_runs.pacing import RateLimits
from openai_runs.session import Session


def run_jobs(
    jobs: Jobs,
    out: Annotated[Path, typer.Option(help="The file of results, as JSON lines; jobs that it has are left out.")],
    assistant: Assistant = None,
    message: Message = None,
    base_url: BaseUrl = None,
    completion_window: CompletionWindow = None,
    workers: JobWorkers = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    budget_tokens: Annotated[
        int | None, typer.Option(min=1, help="Start no more runs once so many tokens are used.")
    ] = None,
    deadline: Deadline = None,
    outage: Outage = OUTAGE,
    tools: Tools = None,
    retry_failed: Annotated[
        bool, typer.Option(help="Run jobs again whose result in --out is a failure, unless their runs complete.")
    ] = False,
    durable: Annotated[
        str | None,
        typer.Option(
            help="Keep the batch in this store: an SQLite file, or a URL with postgresql://.", metavar="STORE"
        ),
    ] = None,
    name: BatchName = None,
    at_once: AtOnce = None,
) -> None:
    """Run the jobs of a file, and write one result a job.

    Started again, it goes on with the jobs that have no result in --out yet. Ctrl-C lets the runs in progress end, and
    starts no others; a second one cancels them. Each option can also be given as an environment variable.

    With --durable it goes on from the store, whatever happened to the process; a second Ctrl-C leaves the runs to the
    next start; --rpm, --tpm and --at-once hold for all processes that work on the store, without one for none; and
    --budget-tokens is the batch's, over all starts.

    The exit code is 0 if all jobs have completed, 1 if some have failed or a line is no job, 2 if no job could be
    started, and 3 if the batch was stopped before its end.
    """
    check_out(out)
    file = JobFile(
        path=jobs,
        assistant_id=assistant,
        template=parse_message(message),
        completion_window=None if completion_window is None else completion_window.value,
    )
    workers = worker_count(workers, completion_window, at_once)
    check_deadline(deadline, completion_window)
    check_jobs(file)
    toolbox = None if tools is None else load_toolbox(tools)
    work = Work(toolbox=toolbox, workers=workers, at_once=at_once, rpm=rpm, tpm=tpm, deadline=deadline, outage=outage)
    if durable is None:
        if name is not None or at_once is not None:
            raise typer.BadParameter("--name and --at-once are for --durable only")
        run(_run(file, out, retry_failed, base_url, work, budget_tokens), refused=REFUSED, interrupted=STOPPED)
    else:
        if retry_failed:
            raise typer.BadParameter("--retry-failed is not for --durable: run them under another --name")
        check_name(name, jobs)
        check_at_once(workers, at_once)
        store = DurableStore(url=durable, name=name or file.batch_name, budget_tokens=budget_tokens)
        run(_run_durable(file, out, base_url, store, work), refused=REFUSED, interrupted=STOPPED)


async def _run(
    file: JobFile, out: Path, retry_failed: bool, base_url: str | None, work: Work, budget_tokens: int | None
) -> None:
    limits = RateLimits(requests_per_minute=work.rpm, tokens_per_minute=work.tpm)
    async with Session(base_url, rate_limits=limits) as session:
        await _check_assistant(session, file, work)
        with open_results(out, retry_failed=retry_failed) as results:
            if exit_code := await _FileBatch(session, file, results, work, budget_tokens).run():
                raise typer.Exit(exit_code)  # inside, so that nothing is left of a file without a result


async def _run_durable(file: JobFile, out: Path, base_url: str | None, store: DurableStore, work: Work) -> None:
    import openai_runs.batch.durable  # noqa: F401  # if its extra is missing, nothing is written

    async with Session(base_url) as session:
        await _check_assistant(session, file, work)
        with open_results(out) as results:
            if exit_code := await DurableFileBatch(session, file, results, store, work).run():
                raise typer.Exit(exit_code)


async def _check_assistant(session: Session, file: JobFile, work: Work) -> None:
    """Refuse a wrong URL, key or assistant, and one with functions that nobody answers: each job would fail."""
    if file.assistant_id is not None:
        check_functions(await session.assistants.retrieve(file.assistant_id), file, work.toolbox)


@define
class _FileBatch:
    """A batch from a file into a file."""

    session: Session
    file: JobFile
    results: ResultFile
    work: Work
    budget_tokens: int | None
    bad_lines: BadLines = field(factory=BadLines)
    saved: Saved = field(factory=Saved)
    is_broken_off: bool = False  # whether runs in progress are cancelled

    async def run(self) -> int:
        """Run the jobs until all have ended, or something stops them; returns the exit code."""
        total = None
        if self.file.path.is_file():  # a pipe can be read only once
            total = sum(1 for _ in without_results(self.file.read(self.bad_lines.add), self.results))
            self.bad_lines.print_repeated()
        on_bad_line = self.bad_lines.add if total is None else _ignore
        jobs = without_results(self.file.read(on_bad_line), self.results)
        with anyio.CancelScope() as scope, anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with (
                run_batch(
                    self.session,
                    resumable(jobs, self.results),
                    workers=self.work.workers,
                    toolbox=self.work.toolbox,
                    deadline=self.work.deadline,
                    polling=self.work.polling,
                    budget_tokens=self.budget_tokens,
                    total=total,
                ) as batch,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(self._stop_on_signals, signals, batch, scope)
                if not errors.is_terminal and total != 0:
                    tasks.start_soon(report, batch)
                await self._save(batch)
                tasks.cancel_scope.cancel()
        is_stopped = self.is_broken_off or batch.stopped_by is not None
        if total is not None:
            is_stopped = total > self.saved.written
        if self.is_broken_off or not is_stopped:
            self.results.settle()
        self._summarize(batch, is_stopped)
        if is_stopped:
            return STOPPED
        return FAILED if self.saved.failed or self.results.failed or self.bad_lines.count else 0

    async def _save(self, batch: Batch) -> None:
        retries = JobRetries()
        try:
            has_bar = errors.is_terminal and batch.progress.total != 0
            with progress_bar(batch, "jobs", console=errors) if has_bar else nullcontext():
                await save_results(
                    batch,
                    self.results,
                    self.saved,
                    would_repeat=lambda result: retries.should_repeat(
                        result, keys_honoured=bool(self.session.honours_keys)
                    ),
                )
        except (OSError, ValueError) as error:  # a full disk, say, or a pipe that is no CSV
            self.is_broken_off = True
            errors.print(f"[red]{escape(str(error))}[/]")

    async def _stop_on_signals(
        self, signals: AsyncIterator[signal.Signals], batch: Batch, scope: anyio.CancelScope
    ) -> None:
        await anext(signals)
        batch.drain()
        errors.print("no more runs are started, and those in progress are waited for; Ctrl-C again cancels them")
        await anext(signals)
        errors.print("cancelling the runs in progress")
        self.is_broken_off = True
        scope.cancel()

    def _summarize(self, batch: Batch, is_stopped: bool) -> None:
        self.bad_lines.print_repeated()  # of a pipe
        summarize(self.saved, self.results, bad_lines=self.bad_lines.count, tokens=batch.progress.tokens)
        if self.results.failed:
            errors.print("--retry-failed runs again what failed before")
        if is_stopped:
            why = "the token budget is used up" if batch.stopped_by == "budget" else "it was stopped"
            say_incomplete(why)


def _ignore(_: BadLine) -> None:
    """For lines that were shown already."""
