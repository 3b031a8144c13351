"""A disk that is really full, under ``openai-runs serve``: ``python -m tests.crash.full_disk``.

Two small disks in memory, one for the store with its files and its index, one for temporary files, are filled and
emptied again. They are mounted where no other process sees them, for which Linux has to allow user namespaces, and are
gone with this process.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
from attrs import define, field
from openai import APIStatusError, OpenAI
from rich.console import Console

from tests.crash.probing import Probe
from tests.serving import serving

MB = 2**20
STORE_MB, TEMPORARY_MB = 24, 6
_INSIDE = "TESTS_ON_SMALL_DISKS"


@define
class FullDisk:
    """What happens to one server."""

    folder: Path
    console: Console
    faults: list[str] = field(factory=list, init=False)

    @property
    def disk(self) -> Path:
        return self.folder / "disk"

    @property
    def temporary(self) -> Path:
        return self.folder / "temporary"

    def check(self, *, that: bool, otherwise: str) -> None:
        if not that:
            self.faults.append(otherwise)

    async def run(self) -> None:
        arguments = (self.disk / "runs.db", "--no-access-log")
        with serving(*arguments, TMPDIR=str(self.temporary)) as (url, process):
            with OpenAI(base_url=url, api_key="k", max_retries=0, timeout=60) as client:
                probe = Probe(("/healthz", "/v1/files", "/v1/vector_stores"))
                async with probe.running(url.removesuffix("/v1")):
                    await anyio.to_thread.run_sync(self._fill, client)
                self.console.print(str(probe))
                self.faults += probe.bad
            self.check(that=process.poll() is None, otherwise="the server has ended")
        with serving(*arguments) as (url, _), OpenAI(base_url=url, api_key="k") as client:
            self.check(that=len(client.files.list().data) == len(self._contents()), otherwise="a file is half there")

    def _fill(self, client: OpenAI) -> None:
        store = client.vector_stores.create()
        tea = self._read(client, store.id, "tea.txt", b"Tea is hot.")
        self.check(that=tea.status == "completed", otherwise=f"at first: {tea}")

        self.console.print("a file that is larger than what is left")
        self._refused(lambda: client.files.create(file=("a.bin", os.urandom(STORE_MB * MB)), purpose="user_data"))
        self.check(that=len(self._contents()) == 1, otherwise=f"half a file is left: {self._contents()}")
        self.check(that=self._room(self.disk) > 10 * MB, otherwise="half a file takes room")

        self.console.print("no room for the index")
        long = client.files.create(file=("long.txt", _text(1 * MB)), purpose="assistants")
        with self._ballast(self.disk, leaving=300_000):
            entry = client.vector_stores.files.create(vector_store_id=store.id, file_id=long.id)
            self._waits(client, store.id, entry.id)
            self._found(client, store.id)
        entry = client.vector_stores.files.poll(long.id, vector_store_id=store.id, poll_interval_ms=100)
        self.check(that=entry.status == "completed", otherwise=f"with room for the index again: {entry}")

        self.console.print("no room at all")
        with self._ballast(self.disk, leaving=0):
            create = {"file": ("b.txt", _text(MB)), "purpose": "assistants"}
            self._refused(lambda: client.files.create(**create))
            self._refused(lambda: client.files.create(**{**create, "file": ("c.txt", b"c")}))
            self._refused(lambda: client.vector_stores.create(name="n" * 200, metadata={"a": "b" * 500}))
            self._refused(lambda: client.beta.threads.create(messages=[{"role": "user", "content": "i" * 100_000}]))
            self._found(client, store.id)
            self.check(that=len(self._contents()) == 2, otherwise=f"half a file is left: {self._contents()}")
        again = self._read(client, store.id, "b.txt", _text(MB))
        self.check(that=again.status == "completed", otherwise=f"with room again: {again}")

        self.console.print("no room for what reading writes")
        tall = client.files.create(file=("tall.txt", _text(3 * MB)), purpose="assistants")
        with self._ballast(self.temporary, leaving=100_000):
            self._fails(client, store.id, tall.id)
        with self._ballast(self.temporary, leaving=0):
            self._fails(client, store.id, tall.id)
            self._found(client, store.id)
        small = self._read(client, store.id, "small.txt", b"Coffee is cold.")
        self.check(that=small.status == "completed", otherwise=f"with room again: {small}")
        subprocess.run(["mount", "-o", "remount,size=64m", str(self.temporary)], check=True)
        subprocess.run(["mount", "-o", "remount,size=64m", str(self.disk)], check=True)
        entry = client.vector_stores.files.create_and_poll(tall.id, vector_store_id=store.id, poll_interval_ms=100)
        self.check(that=entry.status == "completed", otherwise=f"on a larger disk: {entry}")
        counts = client.vector_stores.retrieve(store.id).file_counts
        self.check(that=(counts.completed, counts.total) == (5, 5), otherwise=f"at last: {counts}")

    def _read(self, client: OpenAI, store_id: str, name: str, content: bytes) -> Any:
        files = client.vector_stores.files
        return files.upload_and_poll(vector_store_id=store_id, file=(name, content), poll_interval_ms=100)

    def _refused(self, request: Callable[[], object]) -> None:
        try:
            self.faults.append(f"on a full disk this was done: {request()}")
        except APIStatusError as error:
            self.console.print(f"  refused: {error.status_code} {error.body}")
            clear = "No space left on device" in error.message or "disk is full" in error.message
            self.check(
                that=clear and (error.status_code, error.type) == (503, "server_error"),
                otherwise=f"it is refused in other words: {error.status_code} {error.body}",
            )

    def _waits(self, client: OpenAI, store_id: str, file_id: str) -> None:
        for _ in range(30):  # long enough to be read, and to be refused by the index more than once
            entry = client.vector_stores.files.retrieve(file_id, vector_store_id=store_id)
            self.check(that=entry.status == "in_progress", otherwise=f"without room for the index: {entry}")
            time.sleep(0.1)
        self.console.print(f"  waits: {entry.status}")

    def _fails(self, client: OpenAI, store_id: str, file_id: str) -> None:
        files = client.vector_stores.files
        entry = files.create_and_poll(file_id, vector_store_id=store_id, poll_interval_ms=100)
        self.console.print(f"  read: {entry.status} {entry.last_error}")
        said = entry.last_error and entry.last_error.code
        self.check(that=(entry.status, said) == ("failed", "server_error"), otherwise=f"it is read: {entry}")

    def _found(self, client: OpenAI, store_id: str) -> None:
        found = [hit.filename for hit in client.vector_stores.search(store_id, query="tea").data]
        self.check(that=found == ["tea.txt"], otherwise=f"tea is found in {found}")

    def _contents(self) -> list[Path]:
        return sorted((self.disk / "runs.db-files").iterdir())

    def _room(self, disk: Path) -> int:
        return shutil.disk_usage(disk).free

    def _ballast(self, disk: Path, *, leaving: int) -> "_Ballast":
        return _Ballast(disk / "ballast", leaving)


@define
class _Ballast:
    """What fills a disk, for a while."""

    path: Path
    leaving: int

    def __enter__(self) -> None:
        room = shutil.disk_usage(self.path.parent).free - self.leaving
        with self.path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, room)

    def __exit__(self, *_: object) -> None:
        self.path.unlink()


def _text(size: int) -> bytes:
    words = b"The kettle on shelf %d holds %d litres of water.\n"
    return b"".join(words % (number, number * 7) for number in range(size // 50))


def main() -> None:
    if _INSIDE not in os.environ:
        command = [
            "unshare",
            "--map-root-user",
            "--mount",
            sys.executable,
            "-m",
            "tests.crash.full_disk",
            *sys.argv[1:],
        ]
        os.execvpe(command[0], command, {**os.environ, _INSIDE: "1"})
    console = Console(width=160)
    with tempfile.TemporaryDirectory() as folder:
        disk = FullDisk(Path(folder), console)
        try:
            for path, size in ((disk.disk, STORE_MB), (disk.temporary, TEMPORARY_MB)):
                path.mkdir()
                subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(path)], check=True)
            anyio.run(disk.run)
        finally:
            for path in (disk.disk, disk.temporary):
                subprocess.run(["umount", "--lazy", str(path)], check=False)
    console.print(*disk.faults, sep="\n")
    raise SystemExit(f"{len(disk.faults)} faults" if disk.faults else 0)


if __name__ == "__main__":
    main()
