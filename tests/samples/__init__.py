"""The API's document, its examples, and which of our classes stands for which of its schemas."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openai_runs.models.assistant import (
    Assistant,
    AssistantCreateParams,
    AssistantUpdateParams,
    Deleted,
)
from openai_runs.models.delta import MessageDelta, RunStepDelta
from openai_runs.models.file import File
from openai_runs.models.message import Message, MessageCreateParams, MessageUpdateParams
from openai_runs.models.page import Page
from openai_runs.models.run import (
    Run,
    RunCreateParams,
    RunUpdateParams,
    ThreadRunCreateParams,
    ToolOutputsSubmitParams,
)
from openai_runs.models.run_step import RunStep
from openai_runs.models.thread import Thread, ThreadCreateParams, ThreadUpdateParams
from openai_runs.models.vector_store import (
    VectorStore,
    VectorStoreCreateParams,
    VectorStoreFile,
    VectorStoreFileBatch,
    VectorStoreFileBatchCreateParams,
    VectorStoreFileContent,
    VectorStoreFileCreateParams,
    VectorStoreFileUpdateParams,
    VectorStoreSearchPage,
    VectorStoreSearchParams,
    VectorStoreUpdateParams,
)

OPENAPI = Path(__file__).parent / "openapi"
EXAMPLES = OPENAPI / "examples"
SCHEMAS: dict[str, Any] = {
    name: schema
    for part in ("files-vector-stores.json", "assistants-v2.json")
    for name, schema in json.loads((OPENAPI / part).read_text())["components"]["schemas"].items()
}

MODELS: dict[str, Any] = {
    "AssistantObject": Assistant,
    "DeleteAssistantResponse": Deleted,
    "DeleteFileResponse": Deleted,
    "DeleteMessageResponse": Deleted,
    "DeleteThreadResponse": Deleted,
    "DeleteVectorStoreFileResponse": Deleted,
    "DeleteVectorStoreResponse": Deleted,
    "ListAssistantsResponse": Page[Assistant],
    "ListFilesResponse": Page[File],
    "ListMessagesResponse": Page[Message],
    "ListRunStepsResponse": Page[RunStep],
    "ListRunsResponse": Page[Run],
    "ListVectorStoreFilesResponse": Page[VectorStoreFile],
    "ListVectorStoresResponse": Page[VectorStore],
    "MessageDeltaObject": MessageDelta,
    "MessageObject": Message,
    "OpenAIFile": File,
    "RunObject": Run,
    "RunStepDeltaObject": RunStepDelta,
    "RunStepObject": RunStep,
    "ThreadObject": Thread,
    "VectorStoreFileBatchObject": VectorStoreFileBatch,
    "VectorStoreFileContentResponse": VectorStoreFileContent,
    "VectorStoreFileObject": VectorStoreFile,
    "VectorStoreObject": VectorStore,
    "VectorStoreSearchResultsPage": VectorStoreSearchPage,
}

PARAMS: dict[str, Any] = {
    "CreateAssistantRequest": AssistantCreateParams,
    "CreateMessageRequest": MessageCreateParams,
    "CreateRunRequest": RunCreateParams,
    "CreateThreadAndRunRequest": ThreadRunCreateParams,
    "CreateThreadRequest": ThreadCreateParams,
    "CreateVectorStoreFileBatchRequest": VectorStoreFileBatchCreateParams,
    "CreateVectorStoreFileRequest": VectorStoreFileCreateParams,
    "CreateVectorStoreRequest": VectorStoreCreateParams,
    "ModifyAssistantRequest": AssistantUpdateParams,
    "ModifyMessageRequest": MessageUpdateParams,
    "ModifyRunRequest": RunUpdateParams,
    "ModifyThreadRequest": ThreadUpdateParams,
    "SubmitToolOutputsRunRequest": ToolOutputsSubmitParams,
    "UpdateVectorStoreFileAttributesRequest": VectorStoreFileUpdateParams,
    "UpdateVectorStoreRequest": VectorStoreUpdateParams,
    "VectorStoreSearchRequest": VectorStoreSearchParams,
}

#: What a stream's events carry, by the beginning of their names; the longest that fits counts.
EVENT_SCHEMAS = {
    "thread.created": "ThreadObject",
    "thread.run.": "RunObject",
    "thread.run.step.": "RunStepObject",
    "thread.run.step.delta": "RunStepDeltaObject",
    "thread.message.": "MessageObject",
    "thread.message.delta": "MessageDeltaObject",
}


def example(entry: dict[str, Any]) -> Any:
    """The body that an entry of ``index.json`` is about."""
    document = json.loads((EXAMPLES / entry["file"]).read_text())
    if entry["part"] == "object":
        return document
    found = next(e for e in document["examples"] if e["title"] == entry["title"])
    return found[entry["part"]]["body"]


def events(file: Path) -> Iterator[tuple[str, Any]]:
    """The events of a repaired stream: name and payload. Not a decoder: each has one line for either."""
    for block in file.read_text().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines and lines["data"] != "[DONE]":
            yield lines["event"], json.loads(lines["data"])


def event_schema(name: str) -> str:
    return EVENT_SCHEMAS[max((prefix for prefix in EVENT_SCHEMAS if name.startswith(prefix)), key=len)]
