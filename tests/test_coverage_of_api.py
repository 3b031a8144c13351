"""Every parameter and every field of the API's operations is somewhere: `coverage.csv` has a row for each."""

import csv
import inspect
import re
from collections.abc import Iterator, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    Unpack,
    get_args,
    get_origin,
    get_overloads,
    get_type_hints,
    is_typeddict,
)

import attrs
import pytest

from openai_runs._http.pages import Listing
from openai_runs.errors import ResponseError
from openai_runs.models.limits import ATTRIBUTES, METADATA, NAME, Items, Length, OneOf, Range
from openai_runs.models.page import Page
from openai_runs.models.run import Run, ToolOutputsSubmitParams
from openai_runs.services.assistants import AssistantsService
from openai_runs.services.files import FilesService
from openai_runs.services.messages import MessagesService
from openai_runs.services.run_steps import RunStepsService
from openai_runs.services.runs import RunsService
from openai_runs.services.threads import ThreadsService
from openai_runs.services.vector_store_file_batches import VectorStoreFileBatchesService
from openai_runs.services.vector_store_files import VectorStoreFilesService
from openai_runs.services.vector_stores import VectorStoresService
from tests.samples import MODELS, OPENAPI, event_schema

METHODS = {
    "listAssistants": AssistantsService.list,
    "createAssistant": AssistantsService.create,
    "getAssistant": AssistantsService.retrieve,
    "modifyAssistant": AssistantsService.update,
    "deleteAssistant": AssistantsService.delete,
    "createThread": ThreadsService.create,
    "createThreadAndRun": ThreadsService.create_and_run,
    "getThread": ThreadsService.retrieve,
    "modifyThread": ThreadsService.update,
    "deleteThread": ThreadsService.delete,
    "listMessages": MessagesService.list,
    "createMessage": MessagesService.create,
    "getMessage": MessagesService.retrieve,
    "modifyMessage": MessagesService.update,
    "deleteMessage": MessagesService.delete,
    "listRuns": RunsService.list,
    "createRun": RunsService.create,
    "getRun": RunsService.retrieve,
    "modifyRun": RunsService.update,
    "cancelRun": RunsService.cancel,
    "submitToolOuputsToRun": RunsService.submit_tool_outputs,
    "listRunSteps": RunStepsService.list,
    "getRunStep": RunStepsService.retrieve,
    "listFiles": FilesService.list,
    "createFile": FilesService.create,
    "retrieveFile": FilesService.retrieve,
    "deleteFile": FilesService.delete,
    "downloadFile": FilesService.content,
    "listVectorStores": VectorStoresService.list,
    "createVectorStore": VectorStoresService.create,
    "getVectorStore": VectorStoresService.retrieve,
    "modifyVectorStore": VectorStoresService.update,
    "deleteVectorStore": VectorStoresService.delete,
    "searchVectorStore": VectorStoresService.search,
    "listVectorStoreFiles": VectorStoreFilesService.list,
    "createVectorStoreFile": VectorStoreFilesService.create,
    "getVectorStoreFile": VectorStoreFilesService.retrieve,
    "updateVectorStoreFileAttributes": VectorStoreFilesService.update,
    "deleteVectorStoreFile": VectorStoreFilesService.delete,
    "retrieveVectorStoreFileContent": VectorStoreFilesService.content,
    "createVectorStoreFileBatch": VectorStoreFileBatchesService.create,
    "getVectorStoreFileBatch": VectorStoreFileBatchesService.retrieve,
    "cancelVectorStoreFileBatch": VectorStoreFileBatchesService.cancel,
    "listFilesInVectorStoreBatch": VectorStoreFileBatchesService.list_files,
}

with (OPENAPI / "coverage.csv").open(newline="") as table:
    ROWS = [dict(row) for row in csv.DictReader(table)]

#: Rows that no method or model stands for, and why.
LEFT_OUT = {
    "how an event is wrapped": lambda row: row["location"] == "event" and not row["name"].startswith("data."),
    "the switch that makes an answer a stream": lambda row: row["location"] == "body" and row["name"] == "stream",
    "read by the transport, which has tests of its own": lambda row: row["location"] == "response-header",
    "the whole body": lambda row: not row["name"],
    "the file itself, which is an argument of its own": lambda row: row["schema_path"] == "CreateFileRequest.file",
    "the one thing that may be included, which callers write as text": lambda row: row["name"] == "include[][]",
}

#: The `type` by which each member of a union is known; a choice of a tool has that of the tool.
TAGS = {
    match[1]: row["enum_limits"].removeprefix("enum=").partition(";")[0]
    for row in ROWS
    if (match := re.search(r"<(\w+)>\.type$", row["name"]))
} | {"AssistantsNamedToolChoice": None}


def rows(operation: str, *locations: str) -> list[dict[str, str]]:
    found = [row for row in ROWS if row["operation_id"] == operation and row["location"] in locations]
    return [row for row in found if not any(left_out(row) for left_out in LEFT_OUT.values())]


def parts(hint: Any, limits: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """The members of a type, bare of what is around them, each with the limits that hold for it."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Required, NotRequired):
        yield from parts(args[0], limits)
    elif origin is Annotated:
        yield from parts(args[0], limits + hint.__metadata__)
    elif origin in (Union, UnionType):
        for member in args:
            yield from parts(member, limits)
    else:
        yield hint, limits


@cache
def fields(cls: Any) -> dict[str, Any]:
    if is_typeddict(cls) or (isinstance(cls, type) and attrs.has(cls)):
        return get_type_hints(cls, include_extras=True)
    origin = get_origin(cls)
    if origin is not None and attrs.has(origin):
        item = get_args(cls)[0]
        hints = get_type_hints(origin, include_extras=True)
        return {name: hint[item] if getattr(hint, "__parameters__", ()) else hint for name, hint in hints.items()}
    return {}


def has_tag(cls: Any, tag: str | None) -> bool:
    kind = fields(cls).get("type")
    return "|".join(get_args(kind)) == tag if get_origin(kind) is Literal else kind is str and tag is None


def walk(hint: Any, path: str) -> list[Any]:
    """The types that a dotted path may lead to, such as ``tools[]<AssistantToolsFunction>.function.name``."""
    found = [hint]
    for step in re.findall(r"\[\]|<\w+>|\w+", path):
        members = [member for candidate in found for member, _ in parts(candidate)]
        if step == "[]":
            found = [get_args(member)[0] for member in members if get_origin(member) in (tuple, Sequence)]
        elif step.startswith("<"):
            found = [member for member in members if has_tag(member, TAGS[step[1:-1]])]
        else:
            found = [fields(member)[step] for member in members if step in fields(member)]
    return found


def params_of(operation: str) -> Any:
    """The TypedDict of a method's keyword arguments, if it has one."""
    if operation == "submitToolOuputsToRun":  # which takes its one parameter by position
        return ToolOutputsSubmitParams
    hints = get_type_hints(METHODS[operation])
    return next((get_args(hint)[0] for hint in hints.values() if get_origin(hint) is Unpack), None)


def names_of(operation: str) -> set[str]:
    """All arguments that a method takes, in any of its forms."""
    method = METHODS[operation]
    named = {name for one in (method, *get_overloads(method)) for name in inspect.signature(one).parameters}
    return named | fields(params_of(operation)).keys()


def is_limited(stated: str, limits: list[Any]) -> bool:
    """Whether the limits that the document states, in its words or its numbers, are among ours."""
    stated_numbers = re.findall(r"\b(min|max|maxItems|minItems|maxLength)=(\d+)", stated)
    numbers = {word: float(number) for word, number in stated_numbers if number != "100000000"}  # files of a store
    wanted: list[Any] = []
    if "min" in numbers:
        wanted.append(Range(numbers["min"], numbers.get("max")))
    if "maxItems" in numbers or "minItems" in numbers:
        wanted.append(Items(numbers.get("maxItems"), int(numbers.get("minItems", 0))))
    if "maxLength" in numbers:
        wanted.append(Length(numbers["maxLength"]))
    if stated.startswith("maxProperties=16"):
        wanted.append(ATTRIBUTES)
    if stated.startswith("at most 16 pairs"):
        wanted.append(METADATA)
    if stated.startswith("a-z A-Z 0-9"):
        wanted.append(NAME)
    if described := re.search(r"1\.\.(\d+)", stated):
        wanted.append(Range(1, int(described[1])))
    if stated.startswith("enum=asc"):
        wanted.append(OneOf(("asc", "desc")))
    return all(limit in limits for limit in wanted)


def test_every_operation_has_a_method():
    """All operations of the document, and no others."""
    assert {row["operation_id"] for row in ROWS if row["location"] != "event"} == METHODS.keys()


@pytest.mark.parametrize("operation", METHODS)
def test_arguments(operation):
    """What a path needs, and what a query may hold, is an argument."""
    wanted = {row["name"].removesuffix("[]") for row in rows(operation, "path", "query")}
    assert wanted <= names_of(operation)


@pytest.mark.parametrize(
    "operation", [row["operation_id"] for row in ROWS if row["location"] == "body" and not row["name"]]
)
def test_body_parameters(operation):
    """What a body may hold is a parameter: with ``None`` where the document takes a null, and with its limits."""
    missing, null_refused, unlimited = [], [], []
    for row in rows(operation, "body"):
        found = [part for hint in walk(params_of(operation), row["name"]) for part in parts(hint)]
        if not found:
            missing.append(row["name"])
        elif row["nullable"] == "yes" and NoneType not in [member for member, _ in found]:
            null_refused.append(row["name"])
        elif not is_limited(row["enum_limits"], [limit for _, limits in found for limit in limits]):
            unlimited.append((row["name"], row["enum_limits"]))
    assert not missing
    assert not null_refused
    assert not unlimited


@pytest.mark.parametrize("operation", METHODS)
def test_response_fields(operation):
    """Every field of every answer is a field of a model, or an attribute of an error."""
    returned = get_type_hints(METHODS[operation])["return"]
    if get_origin(returned) is Listing:
        returned = Page[get_args(returned)]
    answers = rows(operation, "response")
    assert not [row["name"] for row in answers if row["status_or_event"] == "200" and not walk(returned, row["name"])]
    errors = {row["name"].removeprefix("error").lstrip(".") for row in answers if row["status_or_event"] != "200"}
    assert errors - {""} <= inspect.signature(ResponseError).parameters.keys()


def test_event_fields():
    """Every field of what a stream's events carry, where it is not one of the objects above."""
    missing = []
    for row in rows("createRun|createThreadAndRun|submitToolOuputsToRun", "event"):
        event, name = row["status_or_event"], row["name"].removeprefix("data.")
        if event == "error":
            found = name in inspect.signature(ResponseError).parameters
        else:
            found = bool(walk(MODELS[event_schema(event)], name))
        if not found:
            missing.append((event, name))
    assert not missing


def test_a_missing_field_would_be_noticed():
    """The walk finds nothing where there is nothing."""
    assert not walk(Page[Run], "data[].no_such_field")
    assert not walk(Run, "tools[]<AssistantToolsFunction>.function.nothing")
    assert not walk(Run, "status.nothing")
    assert walk(Run, "tools[]<AssistantToolsFunction>.function.name") == [Annotated[str, NAME]]
