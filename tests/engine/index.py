"""An index for tests: it finds chunks by words, waits when it is told to, and fails where it is told to."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from openai_runs.errors import FileError
from openai_runs.file_search import Chunking, Hit, IngestedFile, RankingOptions


class WordIndex:
    """Each line of a file is a chunk, and a chunk is as good as the share of the query's words in it."""

    def __init__(self) -> None:
        self.chunks_of: dict[tuple[str, str], list[str]] = {}
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
        self, store_id: str, file_id: str, filename: str, content: Path | bytes, chunking: Chunking
    ) -> IngestedFile:
        data = content if isinstance(content, bytes) else await anyio.Path(content).read_bytes()
        self.calls.append(("ingest", store_id, file_id))
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
            raise FileError("unsupported_file", "Programs are not read.")
        self.chunks_of[store_id, file_id] = chunks = data.decode().splitlines()
        return IngestedFile(usage_bytes=2 * len(data), chunks=len(chunks))

    async def search(
        self,
        store_ids: Sequence[str],
        query: str | Sequence[str],
        *,
        limit: int,
        file_ids: Mapping[str, Collection[str]] | None = None,
        ranking_options: RankingOptions | None = None,
        max_tokens: int | None = None,
    ) -> Sequence[Hit]:
        ranking = ranking_options or {}
        self.searches.append({**ranking, "file_ids": file_ids})
        queries = [set(text.lower().split()) for text in ([query] if isinstance(query, str) else query)]
        hits = [
            Hit(
                store_id=store_id,
                file_id=file_id,
                filename="",
                index=index,
                score=max(len(words & set(text.lower().split())) / len(words or [""]) for words in queries or [set()]),
                text=text,
            )
            for (store_id, file_id), chunks in self.chunks_of.items()
            if store_id in store_ids and (file_ids is None or file_id in file_ids[store_id])
            for index, text in enumerate(chunks)
        ]
        good = [hit for hit in hits if hit.score > 0 and hit.score >= (ranking.get("score_threshold") or 0.0)]
        return sorted(good, key=lambda hit: -hit.score)[:limit]

    async def chunks(self, store_id: str, file_id: str) -> Sequence[str]:
        return self.chunks_of.get((store_id, file_id), [])

    async def file_ids(self, store_id: str) -> Collection[str]:
        if b"file_ids" in self.failures:
            raise self.failures[b"file_ids"]
        return [file_id for of_store, file_id in self.chunks_of if of_store == store_id]

    async def forget(self, store_id: str, file_id: str) -> None:
        self.calls.append(("forget", store_id, file_id))
        self._fail()
        self.chunks_of.pop((store_id, file_id), None)

    async def forget_store(self, store_id: str) -> None:
        self.calls.append(("forget", store_id, "*"))
        self._fail()
        for key in [key for key in self.chunks_of if key[0] == store_id]:
            del self.chunks_of[key]

    def _fail(self) -> None:
        if b"forget" in self.failures:
            raise self.failures[b"forget"]
