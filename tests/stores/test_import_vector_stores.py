"""Vector stores come with their files, which the next engine reads again."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from openai_runs.engine import ManualClock
from openai_runs.models.vector_store import VectorStore
from openai_runs.stores import MemoryStore
from openai_runs.stores.import_export import ImportReport, export_objects, import_objects, parse
from openai_runs.stores.records import FileUse, IndexJob, PageQuery, VectorStoreEntry
from openai_runs.stores.sqlite import SQLiteStore
from openai_runs.stores.store import Store
from tests.engine.index import WordIndex
from tests.engine.shelves import counts, done, file_now, shelves, store_now, store_of, upload

pytestmark = pytest.mark.anyio

FILES = [
    {
        "id": f"file-{n}",
        "object": "file",
        "created_at": 9,
        "bytes": 0,
        "filename": "a.txt",
        "purpose": "user_data",
        "status": "processed",
    }
    for n in range(4)
]


def entry(number: int, status: str = "completed", store_id: str = "vs_1", **more: Any) -> dict[str, Any]:
    name = {"id": f"file-{number}", "object": "vector_store.file", "vector_store_id": store_id}
    return {**name, "created_at": 11 + number, "usage_bytes": 5, "status": status, "attributes": {"a": 1}, **more}


def vector_store(status: str = "completed", id: str = "vs_1") -> dict[str, Any]:
    told = {"in_progress": 0, "completed": 7, "failed": 0, "cancelled": 0, "total": 7}
    kept = {"id": id, "object": "vector_store", "created_at": 10, "name": "Menus", "metadata": {"k": "v"}}
    return {**kept, "usage_bytes": 77, "file_counts": told, "status": status}


async def bring(store: Store, values: Iterable[Any] | bytes, owner: str = "") -> ImportReport:
    data = values if isinstance(values, bytes) else "\n".join(map(json.dumps, values)).encode()
    report = ImportReport()
    processed = [count async for count in import_objects(store, parse("file", data, report), report, owner=owner)]
    assert sum(processed) >= report.already_present >= 0
    return report


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_found_after_the_import(tmp_path: Path, kind: str):
    """What was exported is read by the next engine, with its IDs, attributes and sizes of chunks, and is found."""
    sizes = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 7}}
    clock = ManualClock()
    one: Store = MemoryStore() if kind == "memory" else SQLiteStore(tmp_path / "one.db")
    two: Store = MemoryStore() if kind == "memory" else SQLiteStore(tmp_path / "two.db")
    async with shelves(store=one, clock=clock) as (w, index):
        files = [await upload(w, "hot soup"), await upload(w, "cold cake"), await upload(w, "x", filename="bad.exe")]
        shelf = await store_of(w, *files[:2], name="Menus", chunking_strategy=sizes)
        await w.engine.vector_store_files.create("", shelf.id, {"file_id": files[2].id, "attributes": {"year": 2026}})
        await done(w)
        before = await store_now(w, shelf), [await file_now(w, shelf, file) for file in files]
    async with one:
        exported = b"".join([line async for line in export_objects(one)])
    async with two:
        report = await bring(two, exported)
        assert (report.problems, report.added["vector_store"], report.added["vector_store.file"]) == ([], 1, 3)
        [waiting], _ = await two.page(VectorStore, "", PageQuery())
        assert counts(waiting.value) == (2, 0, 1, 0, 3)
        again = await bring(two, exported)
        assert (again.problems, again.already_present, sum(again.added.values())) == ([], 7, 0)
    async with shelves(WordIndex(), store=two, clock=clock) as (w, index):
        await done(w)
        assert (await store_now(w, shelf), [await file_now(w, shelf, file) for file in files]) == before
        assert {chunking.max_tokens for chunking in index.chunkings} == {100}
        [hit] = (await w.engine.vector_stores.search("", shelf.id, {"query": "soup"})).data
        assert hit.file_id == files[0].id
        await w.engine.files.delete("", files[0].id)
        await done(w)
        assert counts(await store_now(w, shelf)) == (0, 1, 1, 0, 2)


async def test_each_status():
    """What was read or waited is to be read; what had failed or was cancelled stays so. All counts are made anew."""
    store = MemoryStore()
    statuses = "completed", "in_progress", "failed", "cancelled"
    entries = [entry(number, status) for number, status in enumerate(statuses)]
    report = await bring(store, [*entries, vector_store("in_progress"), *FILES])
    assert report.problems == []
    record = await store.get(VectorStore, "vs_1")
    assert record is not None
    assert (record.value.status, record.value.usage_bytes) == ("completed", 10)
    assert counts(record.value) == (2, 0, 1, 1, 4)
    kept = [each.value async for each in store.everything(VectorStoreEntry)]
    assert [each.file.status for each in kept] == ["in_progress", "in_progress", "failed", "cancelled"]
    assert [each.file.attributes for each in kept] == [{"a": 1}] * 4
    assert [each.value.file_id async for each in store.everything(IndexJob)] == ["file-0", "file-1"]
    assert len([each async for each in store.everything(FileUse)]) == 4


async def test_an_expired_store():
    """Nothing of it is read; what waited is cancelled."""
    store = MemoryStore()
    await bring(store, [*FILES, vector_store("expired"), entry(0), entry(1, "in_progress")])
    record = await store.get(VectorStore, "vs_1")
    assert record is not None
    assert (record.value.status, counts(record.value)) == ("expired", (0, 1, 0, 1, 2))
    assert [each async for each in store.everything(IndexJob)] == []


async def test_what_is_missing():
    """A file that is not there, or is another owner's, is left out; so is one whose vector store is not there."""
    store = MemoryStore()
    await bring(store, FILES[:1], owner="other")
    report = await bring(store, [FILES[1], vector_store(), entry(0), entry(1), entry(2), entry(1, store_id="vs_2")])
    text = "file {} of the vector store {} not imported: {}"
    unknown, unchanged = (
        "there is no such file",
        "the vector store is missing, or was there already, and is not changed",
    )
    assert report.problems == [
        text.format("file-0", "vs_1", unknown),
        text.format("file-2", "vs_1", unknown),
        text.format("file-1", "vs_2", unchanged),
    ]
    assert (report.added["vector_store"], report.added["vector_store.file"], report.already_present) == (1, 1, 0)
    more = await bring(store, [FILES[3], vector_store(), entry(1), entry(3)])
    assert more.problems == [text.format("file-3", "vs_1", unchanged)]
    assert (more.added["vector_store.file"], more.already_present) == (0, 2)


async def test_another_owners_store():
    """It is reported, and not changed; nothing is put into it."""
    store = MemoryStore()
    await bring(store, [FILES[0], vector_store(), entry(0)])
    report = await bring(store, [FILES[1], vector_store(), entry(1), entry(0)], owner="other")
    assert any("already in the store, of nobody" in problem for problem in report.problems)
    assert len(report.problems) == 3
    assert report.already_present == 0
    record = await store.get(VectorStore, "vs_1")
    assert record is not None
    assert (record.owner, record.value.file_counts.total) == ("", 1)


async def test_an_entry_without_an_id():
    """It is reported with its line."""
    report = await bring(MemoryStore(), [entry(0, store_id="\u0000")])
    assert report.problems == ["file:1: not an ID: '\\x00'"]
