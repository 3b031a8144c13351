"""`EarlierRuns`: the runs of failed jobs that are run again; one that has completed meanwhile need not be paid twice.

They stand in a file beside the results until their jobs have new ones: a process that is killed loses none of them.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self, TypeAlias

from attrs import define

from openai_runs import _wire
from openai_runs.errors import ProtocolError

#: The IDs of a thread and of a run on it.
RunIds: TypeAlias = tuple[str, str]


@define(eq=False)
class EarlierRuns:
    """The latest runs of jobs, by the jobs' keys."""

    _path: Path
    _runs: dict[str, RunIds]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what a process before has left.

        Raises:
            ValueError: The file is another one.
        """
        runs: dict[str, RunIds] = {}
        if path.exists():
            for line in path.read_bytes().splitlines():
                match _decode(line):
                    case {"key": str(key), "thread_id": str(thread_id), "run_id": str(run_id)}:
                        runs[key] = thread_id, run_id
                    case _:
                        raise ValueError(f"{path} does not have the runs of failed jobs: move it away")
        return cls(path, runs)

    def get(self, key: str) -> RunIds | None:
        """The run of a job, if it has one."""
        return self._runs.get(key)

    def add(self, runs: Mapping[str, RunIds]) -> None:
        """Note runs, on the disk as well."""
        self._runs.update(runs)
        new = self._path.with_name(f"{self._path.name}.new")
        with new.open("wb") as file:
            for key, (thread_id, run_id) in self._runs.items():
                file.write(_wire.encode_plain({"key": key, "thread_id": thread_id, "run_id": run_id}) + b"\n")
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
