"""The largest file that the API takes, from openai-python to ``openai-runs serve``: ``python -m tests.crash.large``.

It is accepted, one byte more is refused, and the server neither needs memory for it nor keeps others waiting.
``--megabytes`` has a server that takes less.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Final

import anyio
from attrs import define, field
from openai import APIStatusError, OpenAI
from rich.console import Console

from openai_runs.engine.engine import MAX_FILE_BYTES
from openai_runs.file_search.formats import MOST_TEXT
from tests.crash.probing import Probe
from tests.serving import serving

MB: Final = 2**20
SPARE: Final = 24 * MB  # bytes of memory that the server may need
LINE: Final = b"The kettle on shelf 17 holds 1.7 litres of water and is descaled once a month.\n"


@define
class Upload:
    """What happens to one server."""

    folder: Path
    megabytes: int
    console: Console
    faults: list[str] = field(factory=list, init=False)

    @property
    def largest(self) -> int:
        return self.megabytes * MB

    def check(self, *, that: bool, otherwise: str) -> None:
        if not that:
            self.faults.append(otherwise)

    async def run(self) -> None:
        with (
            serving(self.folder / "runs.db", "--no-access-log", "--max-file-mb", str(self.megabytes)) as (url, process),
            OpenAI(base_url=url, api_key="k", max_retries=0, timeout=900) as client,
        ):
            small = client.files.create(file=("small.txt", LINE), purpose="assistants")
            before = peak(process.pid)
            for size, ending in ((self.largest, b""), (self.largest + 1, b".")):
                path = self._written(size, ending)
                probe = Probe(("/healthz", "/v1/files", f"/v1/files/{small.id}/content"))
                began = time.perf_counter()
                async with probe.running(url.removesuffix("/v1")):
                    await anyio.to_thread.run_sync(self._upload, client, path, size)
                self.console.print(f"{size} bytes took {time.perf_counter() - began:.1f} s; {probe}")
                self.faults += probe.bad
            grown = peak(process.pid) - before
            self.console.print(f"memory: at most {before / MB:.0f} MB before, {grown / MB:.0f} MB more after")
            self.check(that=grown < SPARE, otherwise=f"the server needed {grown} bytes of memory")
            await anyio.to_thread.run_sync(self._look, client)

    def _written(self, size: int, ending: bytes) -> Path:
        path = self.folder / "large.txt"
        with path.open("wb") as file:
            block = LINE * (MB // len(LINE))
            for _ in range((size - len(ending)) // len(block)):
                file.write(block)
            file.write((LINE * (len(block) // len(LINE)))[: size - len(ending) - file.tell()] + ending)
        return path

    def _upload(self, client: OpenAI, path: Path, size: int) -> None:
        with path.open("rb") as file:
            try:
                made = client.files.create(file=file, purpose="assistants")
            except APIStatusError as error:
                self.console.print(f"  refused: {error.status_code} {error.body}")
                said = (error.status_code, getattr(error, "param", None), getattr(error, "type", None))
                wanted = (413, "file", "invalid_request_error")
                self.check(that=size > self.largest and said == wanted, otherwise=f"{size} bytes are refused: {error}")
            else:
                self.check(that=made.bytes == size <= self.largest, otherwise=f"{size} bytes are accepted as {made}")

    def _look(self, client: OpenAI) -> None:
        """What is left: two files, and of the large one a clear word why it is not searched."""
        contents = self.folder / "runs.db-files"
        sizes = sorted(path.stat().st_size for path in contents.iterdir())
        self.check(that=sizes == [len(LINE), self.largest], otherwise=f"on the disk are {sizes}")
        [large, _] = client.files.list(order="desc").data
        if self.largest > MOST_TEXT:
            files, store = client.vector_stores.files, client.vector_stores.create()
            read = files.create_and_poll(large.id, vector_store_id=store.id, poll_interval_ms=100)
            self.console.print(f"  read: {read.status} {read.last_error}")
            self.check(that=read.status == "failed", otherwise=f"a file with too much text is {read.status}")
        with client.files.with_streaming_response.content(large.id) as response:
            back = sum(map(len, response.iter_bytes()))
        self.check(that=back == self.largest, otherwise=f"{back} bytes come back")
        client.files.delete(large.id)
        sizes = [path.stat().st_size for path in contents.iterdir()]
        self.check(that=sizes == [len(LINE)], otherwise=f"after the deletion, on the disk are {sizes}")


def peak(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise LookupError("this system does not say it")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.large", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=MAX_FILE_BYTES // MB)
    options = parser.parse_args()
    console = Console(width=160)
    with tempfile.TemporaryDirectory() as folder:
        upload = Upload(Path(folder), options.megabytes, console)
        anyio.run(upload.run)
    console.print(*upload.faults, sep="\n")
    raise SystemExit(f"{len(upload.faults)} faults" if upload.faults else 0)


if __name__ == "__main__":
    main()
