"""`EarlierRuns`: the runs of failed jobs that are run again; one that has completed meanwhile need not be paid twice.

They stand in a file beside the results until their jobs have new ones: a process that is killed loses none of them.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self, TypeAlias

from attrs import define

from openai_runs import _wire
from openai_runs.batch.jobs import has_completed
from openai_runs.errors import ProtocolError
from openai_runs.models.run import Run

#: The IDs of a thread and of a run on it.
RunIds: TypeAlias = tuple[str, str]
#: These, and the fingerprint of the job that had the run, if it is known.
EarlierRun: TypeAlias = tuple[RunIds, str | None]


def as_run_ids(ids: object) -> RunIds:
    """The IDs by which a job names its earlier run.

    Raises:
        TypeError: There are not two of them.
    """
    match ids:
        case [str(thread_id), str(run_id)]:
            return thread_id, run_id
    raise TypeError(f"the earlier run of a job must be the IDs of thread and run: got {ids!r}; nothing was sent")


def is_worth_following(run: Run) -> bool:
    """Whether an earlier run is the job's: it has completed, or is unfinished."""
    return has_completed(run) or not run.status.is_terminal


@define(eq=False)
class EarlierRuns:
    """The latest runs of jobs, by the jobs' keys."""

    _path: Path
    _runs: dict[str, EarlierRun]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what a process before has left.

        Raises:
            ValueError: The file is another one.
        """
        runs: dict[str, EarlierRun] = {}
        if path.exists():
            for line in path.read_bytes().splitlines():
                match _decode(line):
                    case {"key": str(key), "thread_id": str(thread_id), "run_id": str(run_id), **others}:
                        made_of = others.get("fingerprint")
                        runs[key] = (thread_id, run_id), made_of if isinstance(made_of, str) else None
                    case _:
                        raise ValueError(f"{path} does not have the runs of failed jobs: move it away")
        return cls(path, runs)

    def get(self, key: str, fingerprint: str | None) -> RunIds | None:
        """The run of a job, if it has one, and was the same job then."""
        ids, before = self._runs.get(key, (None, None))
        return ids if before is None or before == fingerprint else None

    def add(self, runs: Mapping[str, EarlierRun]) -> None:
        """Note runs, on the disk as well."""
        self._runs.update(runs)
        new = self._path.with_name(f"{self._path.name}.new")
        with new.open("wb") as file:
            for key, ((thread_id, run_id), fingerprint) in self._runs.items():
                facts = {"key": key, "thread_id": thread_id, "run_id": run_id, "fingerprint": fingerprint}
                file.write(_wire.encode_plain(facts) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)

    def drop(self, keys: Iterable[str | None]) -> None:
        """Forget the runs of jobs that have results."""
        for key in self._runs.keys() & keys:
            del self._runs[key]

    def clear(self) -> None:
        """Forget all of them."""
        self._runs.clear()

    def close(self) -> None:
        """Remove the file if no run in it is wanted any more."""
        if not self._runs:
            self._path.unlink(missing_ok=True)


def _decode(line: bytes) -> object:
    try:
        value: object = _wire.decode(line)
    except ProtocolError:
        return None
    return value
