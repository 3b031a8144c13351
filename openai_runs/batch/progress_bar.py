"""`progress_bar`: a batch's progress in a terminal or a notebook, drawn with rich."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Protocol

from openai_runs._extras import needs
from openai_runs.batch.progress import BatchProgress

with needs("server"):
    from rich.console import Console, RenderableType
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn


class HasProgress(Protocol):
    """A `Batch`, or a durable one that is watched."""

    @property
    def progress(self) -> BatchProgress:
        """How far it has come."""


@contextmanager
def progress_bar(batch: HasProgress, description: str = "runs", *, console: Console | None = None) -> Generator[None]:
    """Show the progress of a batch while the block runs, ten times a second.

    In a terminal it is one line; in a notebook it needs ``ipywidgets``; elsewhere the last state is printed at the end.

    Args:
        batch: What to show.
        description: Stands before the bar.
        console: Where to draw, by default standard output.

    Raises:
        MissingExtraError: On import: rich, which the extra ``server`` installs, is missing.

    Example:
        ::

            async with run_batch(session, jobs) as results:
                with progress_bar(results):
                    async for result in results:
                        ...
    """
    with _Bar(batch, description, console):
        yield


class _Bar(Progress):
    """Reads the batch's progress each time it is drawn, from a thread of rich's."""

    def __init__(self, batch: HasProgress, description: str, console: Console | None) -> None:
        super().__init__(
            SpinnerColumn(finished_text=""),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[facts]}"),
            console=console,
            expand=True,
        )
        self._batch = batch
        self.add_task(description, total=None, facts="")

    def get_renderables(self) -> Iterable[RenderableType]:
        for shown in self.task_ids:  # the one; none yet while the base class's `__init__` draws
            progress = self._batch.progress
            self.update(shown, total=progress.total, completed=progress.done, facts=facts(progress))
        return super().get_renderables()


def facts(progress: BatchProgress) -> str:
    """What stands beside the bar, as rich's markup; also for a line of its own where there is no terminal."""
    done = f"{progress.done:,}" if progress.total is None else f"{progress.done:,}/{progress.total:,}"
    parts = [
        done,
        f"[red]{progress.failed:,} failed[/]" if progress.failed else "",
        f"{progress.in_flight:,} in flight" if progress.in_flight else "",
        f"{progress.waiting:,} waiting" if progress.waiting else "",
        f"{progress.tokens:,} tokens" if progress.tokens else "",
        f"{progress.rate:,.1f}/s",
        f"{_duration(progress.seconds_left)} left" if progress.seconds_left else "",
    ]
    return ", ".join(part for part in parts if part)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
