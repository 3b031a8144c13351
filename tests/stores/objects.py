"""Small objects to put into a store."""

from datetime import UTC, datetime
from typing import Any

from openai_runs.models.assistant import Assistant
from openai_runs.models.file import File
from openai_runs.models.message import Message, MessageRole, Text, TextContent
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.run_step import CreatedMessage, MessageCreation, RunStep, RunStepStatus, ToolCalls
from openai_runs.models.thread import Thread
from openai_runs.models.vector_store import (
    FileCounts,
    VectorStore,
    VectorStoreFile,
    VectorStoreFileBatch,
    VectorStoreFileStatus,
    VectorStoreStatus,
)
from openai_runs.stores.records import (
    BatchFiles,
    FileUse,
    IndexJob,
    Record,
    RunState,
    UsedKey,
    VectorStoreEntry,
    entry_id,
)

NOW = datetime(2027, 1, 15, tzinfo=UTC)


def assistant(id: str, owner: str = "", **fields: Any) -> Record[Assistant]:
    return Record(owner, Assistant(id=id, created_at=NOW, model="m", **fields))


def thread(id: str, owner: str = "", **fields: Any) -> Record[Thread]:
    return Record(owner, Thread(id=id, created_at=NOW, **fields))


def message(id: str, thread_id: str, owner: str = "", *, text: str = "hi", **fields: Any) -> Record[Message]:
    content = (TextContent(text=Text(value=text)),)
    return Record(
        owner, Message(id=id, created_at=NOW, thread_id=thread_id, role=MessageRole.USER, content=content, **fields)
    )


def run(id: str, thread_id: str, owner: str = "", **fields: Any) -> Record[Run]:
    status = fields.pop("status", RunStatus.QUEUED)
    return Record(
        owner, Run(id=id, created_at=NOW, thread_id=thread_id, assistant_id="asst_1", status=status, **fields)
    )


def state(id: str, thread_id: str, owner: str = "", **fields: Any) -> Record[RunState]:
    return Record(owner, RunState(id=id, thread_id=thread_id, deadline=1.5, **fields))


def file(id: str, owner: str = "", **fields: Any) -> Record[File]:
    needed = {"bytes": 0, "filename": "a.txt", "purpose": "assistants", "status": "processed"}
    return Record(owner, File(**{"id": id, "created_at": NOW, **needed, **fields}))


def used_key(id: str, owner: str = "", **fields: Any) -> Record[UsedKey]:
    return Record(
        owner, UsedKey(**{"id": id, "fingerprint": "f", "used_at": 1.5, "kind": "run", "object_id": "run_1", **fields})
    )


def step(id: str, run_id: str, thread_id: str, owner: str = "", *, tools: bool = True) -> Record[RunStep]:
    details = (
        ToolCalls(tool_calls=()) if tools else MessageCreation(message_creation=CreatedMessage(message_id="msg_1"))
    )
    return Record(
        owner,
        RunStep(
            id=id,
            created_at=NOW,
            thread_id=thread_id,
            run_id=run_id,
            type=details.type,
            status=RunStepStatus.COMPLETED,
            step_details=details,
        ),
    )


def vector_store(id: str, owner: str = "") -> Record[VectorStore]:
    counts, status = FileCounts(), VectorStoreStatus.COMPLETED
    return Record(owner, VectorStore(id=id, created_at=NOW, usage_bytes=0, file_counts=counts, status=status))


def vector_store_entry(vector_store_id: str, file_id: str, owner: str = "") -> Record[VectorStoreEntry]:
    shown = VectorStoreFile(
        id=file_id,
        created_at=NOW,
        usage_bytes=0,
        vector_store_id=vector_store_id,
        status=VectorStoreFileStatus.IN_PROGRESS,
    )
    id = entry_id(vector_store_id, file_id)
    return Record(owner, VectorStoreEntry(id=id, vector_store_id=vector_store_id, file=shown))


def file_use(vector_store_id: str, file_id: str, owner: str = "") -> Record[FileUse]:
    id = entry_id(vector_store_id, file_id)
    return Record(owner, FileUse(id=id, vector_store_id=vector_store_id, file_id=file_id))


def index_job(vector_store_id: str, file_id: str | None, owner: str = "") -> Record[IndexJob]:
    id = vector_store_id if file_id is None else entry_id(vector_store_id, file_id)
    return Record(owner, IndexJob(id=id, vector_store_id=vector_store_id, file_id=file_id, number="1"))


def file_batch(id: str, vector_store_id: str, owner: str = "") -> Record[VectorStoreFileBatch]:
    status, counts = VectorStoreFileStatus.IN_PROGRESS, FileCounts()
    batch = VectorStoreFileBatch(
        id=id, created_at=NOW, vector_store_id=vector_store_id, status=status, file_counts=counts
    )
    return Record(owner, batch)


def batch_files(id: str, vector_store_id: str, owner: str = "") -> Record[BatchFiles]:
    return Record(owner, BatchFiles(id=id, vector_store_id=vector_store_id, file_ids=("f1",)))


def shelf(id: str, owner: str = "", *file_ids: str) -> list[Record[Any]]:
    """A vector store with files, a batch of them, and a job for each."""
    records = [vector_store(id, owner), file_batch(f"b of {id}", id, owner), batch_files(f"b of {id}", id, owner)]
    for file_id in file_ids:
        records += [vector_store_entry(id, file_id, owner), file_use(id, file_id, owner), index_job(id, file_id, owner)]
    return records
