"""A server that is killed again and again while it receives files and reads them, and an auditor of what is there then.

``python -m tests.crash.files --kills 50``
"""

import argparse
import hashlib
import random
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio
from attrs import define, field
from rich.console import Console

from openai_runs import Polling, Session
from openai_runs.models.vector_store import FileCounts, VectorStoreFile, VectorStoreFileStatus
from openai_runs.server.local_files import index_beside
from tests.file_search.pdfs import pdf
from tests.serving import Server

POLLING = Polling(first=0.05, longest=0.3, outage=120)
STORES = 3
LARGE = 8_000_000  # bytes
LETTERS = "bcdfghklmnpqrtvwxz"  # of which no stemmer makes another word
DEADLINE = 300  # seconds for what the last kill has left


@define
class Sent:
    """A file as it was sent."""

    content: bytes
    word: str  #: which no other file has


@define
class FileTorture:
    """Keeps some clients busy, kills the server ``kills`` times, lets it end its work, looks at what is there."""

    server: Server
    kills: int
    clients: int
    seed: int
    note: Callable[[str], None] = lambda text: None
    over: bool = False
    waiting: int = 0  #: clients that wait until their files have been read
    sent: dict[str, Sent] = field(factory=dict)  #: by the name, of which there must be one file each
    told: dict[str, str] = field(factory=dict)  #: the names by the ID that the server has said
    taken_out: set[tuple[str, str]] = field(factory=set)  #: store and file
    deleted: set[str] = field(factory=set)
    counts: Counter[str] = field(factory=Counter)
    faults: list[str] = field(factory=list)
    chance: random.Random = field(init=False)

    async def run(self) -> None:
        self.chance = random.Random(self.seed)
        self.server.start()
        try:
            async with Session(self.server.url, "key", max_retries=60, timeout=30) as session:
                stores = [(await session.vector_stores.create()).id for _ in range(STORES)]
                async with anyio.create_task_group() as tasks:
                    for number in range(self.clients):
                        tasks.start_soon(self._keep_busy, session, stores, number)
                    tasks.start_soon(self._keep_uploading, session)
                    for number in range(self.kills):
                        await session.vector_stores.retrieve(stores[0])
                        await anyio.sleep(self.chance.uniform(0, 1.2))
                        self._kill()
                        self.server.start()
                        self.note(f"killed {number + 1} times, {len(self.told)} files uploaded")
                    self.over = True
                with anyio.move_on_after(DEADLINE):
                    for store_id in stores:
                        while (  # noqa: ASYNC110  # a server has no event for it
                            await session.vector_stores.retrieve(store_id)
                        ).file_counts.in_progress:
                            await anyio.sleep(0.2)
                files = await self._audit_files(session)
                entries = [await self._audit_store(session, store_id, files) for store_id in stores]
        finally:
            self.server.kill()
        self._audit_disk(files)
        self._audit_index({(file.vector_store_id, file.id) for of_store in entries for file in of_store})

    def _kill(self) -> None:
        drafts = self._contents().glob("draft-*")
        self.counts["kills amid uploads"] += any(drafts)
        self.counts["kills amid readings"] += self.waiting > 0
        self.server.kill()
        self.counts["kills"] += 1

    def _contents(self) -> Path:
        return self.server.store.with_name(f"{self.server.store.name}-files")

    async def _keep_busy(self, session: Session, stores: Sequence[str], client: int) -> None:
        number = 0
        while not self.over:
            number += 1
            store_id = self.chance.choice(stores)
            if self.chance.random() < 0.3:
                ids = [await self._upload(session, f"{client}-{number}-{each}") for each in range(3)]
                batch = await session.vector_stores.file_batches.create(store_id, file_ids=ids)
                with self._waiting():
                    await session.vector_stores.file_batches.poll(batch, polling=POLLING)
                self.counts["batches"] += 1
                continue
            file_id = await self._upload(session, f"{client}-{number}")
            file = await session.vector_stores.files.create(store_id, file_id=file_id)
            what = self.chance.random()
            if what < 0.7:
                with self._waiting():
                    await session.vector_stores.files.poll(file, polling=POLLING)
            elif what < 0.85:
                await session.vector_stores.files.delete(file)
                self.taken_out.add((store_id, file_id))
            else:
                await session.files.delete(file_id)
                self.deleted.add(file_id)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        self.waiting += 1
        yield
        self.waiting -= 1

    async def _keep_uploading(self, session: Session) -> None:
        """Upload what takes a while, so that the server is killed amid it, and delete most of it."""
        number = 0
        while not self.over:
            number += 1
            content = self.chance.randbytes(LARGE)
            file = await session.files.create(content, filename=f"{number}.bin", purpose="user_data")
            self.told[file.id] = file.filename
            if number % 8:
                await session.files.delete(file.id)
                self.deleted.add(file.id)
            else:
                self.sent[file.filename] = Sent(content, "")

    async def _upload(self, session: Session, number: str) -> str:
        word = "".join(self.chance.choices(LETTERS, k=16))
        pages = [f"Page {page} is about {word} and nothing else." for page in range(self.chance.randint(1, 60))]
        if self.chance.random() < 0.5:
            name, content = f"{number}.pdf", pdf(*pages)
        else:
            name, content = f"{number}.txt", "\n".join(pages * self.chance.randint(1, 400)).encode()
        self.sent[name] = Sent(content, word)
        file = await session.files.create(content, filename=name, purpose="assistants")
        self.told[file.id] = name
        return file.id

    async def _audit_files(self, session: Session) -> dict[str, str]:
        """The names of all files by their IDs."""
        found = {file.id: file async for file in session.files.list()}
        if missing := self.told.keys() - self.deleted - found.keys():
            self.faults.append(f"files that are gone: {missing}")
        if unknown := found.keys() - self.told.keys() | self.deleted & found.keys():
            self.faults.append(f"files that nobody was told of, or that were deleted: {unknown}")
        for file in found.values():
            content = await session.files.content(file.id).read()
            if len(content) != file.bytes or content != self.sent[file.filename].content:
                self.faults.append(f"{file.id} is not what was uploaded: {len(content)} of {file.bytes} bytes")
        self.counts["files"] = len(found)
        return {file.id: file.filename for file in found.values()}

    async def _audit_store(self, session: Session, store_id: str, files: dict[str, str]) -> Sequence[VectorStoreFile]:
        """The files in a vector store."""
        store = await session.vector_stores.retrieve(store_id)
        entries = [file async for file in session.vector_stores.files.list(store_id)]
        statuses = Counter(str(file.status) for file in entries)
        counts = FileCounts(**{**statuses, "total": len(entries)})
        if (store.file_counts, store.usage_bytes) != (counts, sum(file.usage_bytes for file in entries)):
            self.faults.append(f"{store} should have {counts}")
        if store.status != "completed" or set(statuses) - {"completed"}:
            self.faults.append(f"{store_id} is {store.status}: {statuses}, {[file.last_error for file in entries]}")
        if wrong := {file.id for file in entries} & {id for store, id in self.taken_out if store == store_id}:
            self.faults.append(f"{store_id} has files that were taken out: {wrong}")
        for file in entries:
            if file.status is not VectorStoreFileStatus.COMPLETED:
                continue
            found = await session.vector_stores.search(store_id, query=self.sent[files[file.id]].word)
            if {hit.file_id for hit in found.data} != {file.id}:
                self.faults.append(f"{file.id} in {store_id} is found as {[hit.file_id for hit in found.data]}")
        for _, file_id in self.taken_out:
            found = await session.vector_stores.search(store_id, query=self.sent[self.told[file_id]].word)
            if found.data:
                self.faults.append(f"{file_id} was taken out, and is found")
        self.counts["entries"] += len(entries)
        return entries

    def _audit_disk(self, files: dict[str, str]) -> None:
        there = {path.name: path.stat().st_size for path in self._contents().iterdir()}
        wanted = {
            hashlib.blake2b(id.encode(), digest_size=24).hexdigest(): len(self.sent[name].content)
            for id, name in files.items()
        }
        if there != wanted:
            left, lost = there.items() - wanted.items(), wanted.items() - there.items()
            self.faults.append(f"on the disk are contents of nobody: {left}; and there lack {lost}")
        with sqlite3.connect(self.server.store) as db:
            jobs = db.execute("SELECT count(*) FROM objects WHERE kind = 'index_job'").fetchone()[0]
        if jobs:
            self.faults.append(f"{jobs} jobs of the index are left")

    def _audit_index(self, entries: set[tuple[str, str]]) -> None:
        with sqlite3.connect(index_beside(self.server.store)) as db:
            [(said,)] = db.execute("PRAGMA integrity_check").fetchall()
            if said != "ok":
                self.faults.append(f"the index is damaged: {said}")
            try:
                db.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
            except sqlite3.DatabaseError as error:
                self.faults.append(f"the words of the index are not those of its chunks: {error}")
            there = set(db.execute("SELECT stores.id, files.id FROM files JOIN stores ON stores.key = files.store"))
            if there != entries:
                self.faults.append(f"the index has {there - entries} too much and lacks {entries - there}")
            counted = "SELECT sum(chunks) FROM stores", "SELECT sum(chunks) FROM files", "SELECT count(*) FROM chunks"
            if len({db.execute(count).fetchone()[0] for count in counted}) != 1:
                self.faults.append("the index counts its chunks wrongly")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.files", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as folder, console.status("starting") as status:
        server = Server(Path(folder) / "runs.db")
        torture = FileTorture(server, options.kills, options.clients, options.seed, status.update)
        anyio.run(torture.run)
    console.print(dict(torture.counts))
    console.print(*torture.faults[:20], sep="\n")
    if not torture.counts["entries"]:
        torture.faults.append("no files were read")
    raise SystemExit(f"{len(torture.faults)} faults" if torture.faults else 0)


if __name__ == "__main__":
    main()
