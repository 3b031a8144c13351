"""What the commands for batches print alike, and their exit codes."""

from typing import Final

import anyio
from rich.markup import escape

from openai_runs.batch.job_files import BadLine
from openai_runs.batch.progress_bar import HasProgress, facts
from openai_runs.batch.result_files import ResultFile
from openai_runs.batch.saving import Saved
from openai_runs.cli.terminal import errors

#: The exit codes beside 0.
FAILED: Final = 1
REFUSED: Final = 2
STOPPED: Final = 3

#: Seconds between two lines about the progress, where there is no terminal.
_REPORT_EVERY: Final = 30.0


def show_bad_line(line: BadLine) -> None:
    """Print which line is no job, and why."""
    errors.print(f"[red]{escape(str(line))}[/]")


def summarize(saved: Saved, results: ResultFile, *, bad_lines: int, tokens: int) -> None:
    """Print how many jobs have ended in which way, now and before."""
    counts = {
        "completed": saved.completed,
        "failed": saved.failed.total(),
        "lines that are no jobs": bad_lines,
        "completed before": len(results.done - results.failed),
        "failed before": len(results.failed),
        "tokens": tokens,
        **{f"of these at {window}": count for window, count in sorted(saved.tokens.items())},
    }
    errors.print(", ".join(f"{what}: {count:,}" for what, count in counts.items() if count or what == "completed"))
    for kind, count in saved.failed.most_common():
        errors.print(f"[red]{count:,} {kind}[/]")


def say_incomplete(why: str) -> None:
    """Print that results are missing."""
    errors.print(f"[yellow]not all jobs have results, because {why}; started again, it goes on[/]")


async def report(batch: HasProgress) -> None:
    """Print a line about the progress now and then."""
    while True:
        errors.print(facts(batch.progress))
        await anyio.sleep(_REPORT_EVERY)
