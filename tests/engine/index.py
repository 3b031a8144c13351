"""An index for tests: it finds passages by words, waits when it is told to, and fails where it is told to."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from openai_runs.engine.file_index import Chunking, Hit, IngestedFile, UnusableFileError


class WordIndex:
    """Each line of a file is a passage, and a passage is as good as the share of the query's words in it."""

    def __init__(self) -> None:
        self.passages_of: dict[tuple[str, str], list[str]] = {}
        self.calls: list[tuple[str, ...]] = []
        self.chunkings: list[Chunking] = []
        self.searches: list[dict[str, Any]] = []
        self.failures: dict[bytes, Exception] = {}  #: by a content
        self.may_go_on = anyio.Event()
        self.may_go_on.set()
        self.under_way = 0  #: how many files are being read
        self.most_under_way = 0

    def stop(self) -> None:
        """Finish no file before `go_on`."""
        self.may_go_on = anyio.Event()

    def go_on(self) -> None:
        self.may_go_on.set()

    async def ingest(
        self, vector_store_id: str, file_id: str, filename: str, content: Path | bytes, chunking: Chunking
    ) -> IngestedFile:
        data = content if isinstance(content, bytes) else await anyio.Path(content).read_bytes()
        self.calls.append(("ingest", vector_store_id, file_id))
        self.chunkings.append(chunking)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.may_go_on.wait()
            await anyio.lowlevel.checkpoint()
        finally:
            self.under_way -= 1
        if data in self.failures:
            raise self.failures[data]
        if filename.endswith(".exe"):
            raise UnusableFileError("unsupported_file", "Programs are not read.")
        self.passages_of[vector_store_id, file_id] = passages = data.decode().splitlines()
        return IngestedFile(bytes=2 * len(data), chunks=len(passages))

    async def search(
        self,
        vector_store_ids: Sequence[str],
        query: str,
        *,
        limit: int,
        file_ids: Mapping[str, Collection[str]] | None = None,
        ranker: str = "auto",
        score_threshold: float = 0.0,
    ) -> Sequence[Hit]:
        self.searches.append({"ranker": ranker, "score_threshold": score_threshold, "file_ids": file_ids})
        words = set(query.lower().split())
        hits = [
            Hit(store_id, file_id, len(words & set(text.lower().split())) / len(words or [""]), text)
            for (store_id, file_id), passages in self.passages_of.items()
            if store_id in vector_store_ids and (file_ids is None or file_id in file_ids[store_id])
            for text in passages
        ]
        good = [hit for hit in hits if hit.score > 0 and hit.score >= score_threshold]
        return sorted(good, key=lambda hit: -hit.score)[:limit]

    async def passages(self, vector_store_id: str, file_id: str) -> Sequence[str]:
        return self.passages_of.get((vector_store_id, file_id), [])

    async def forget(self, vector_store_id: str, file_id: str | None) -> None:
        self.calls.append(("forget", vector_store_id, file_id or "*"))
        if b"forget" in self.failures:
            raise self.failures[b"forget"]
        for key in list(self.passages_of):
            if key == (vector_store_id, file_id) or (key[0] == vector_store_id and file_id is None):
                del self.passages_of[key]
