"""What the commands for batches print alike, and their exit codes."""

from typing import Final

import anyio
from attrs import define, field
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

#: Numbers of lines that have the same problem as an earlier one.
_MOST_LINES: Final = 20

#: Seconds between two lines about the progress, where there is no terminal.
_REPORT_EVERY: Final = 30.0


@define
class BadLines:
    """Prints which lines are no jobs, and why: what is wrong with many lines is printed once, with their numbers."""

    count: int = 0
    _repeated: dict[str, list[int]] = field(factory=dict, init=False)  # by the problem: the lines but for the first

    def add(self, line: BadLine) -> None:
        """Print a line's problem if it is a new one."""
        self.count += 1
        if line.problem in self._repeated:
            self._repeated[line.problem].append(line.number)
        else:
            self._repeated[line.problem] = []
            errors.print(f"[red]{escape(str(line))}[/]")

    def print_repeated(self) -> None:
        """Print which other lines have the same problems; at the end, when all have been read."""
        for problem, lines in self._repeated.items():
            if lines:
                numbers = ", ".join(map(str, lines[:_MOST_LINES]))
                more = f" and {len(lines) - _MOST_LINES:,} more" if len(lines) > _MOST_LINES else ""
                word = "line" if len(lines) == 1 else "lines"
                errors.print(f"[red]{escape(f'{word} {numbers}{more}: {problem}')}[/]")
        self._repeated.clear()


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
