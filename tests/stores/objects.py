"""Small objects to put into a store."""

from datetime import UTC, datetime
from typing import Any

from openai_runs.models.assistant import Assistant
from openai_runs.models.file import File
from openai_runs.models.message import Message, MessageRole, Text, TextContent
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.run_step import CreatedMessage, MessageCreation, RunStep, RunStepStatus, ToolCalls
from openai_runs.models.thread import Thread
from openai_runs.stores.records import Record, RunState, UsedKey

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
