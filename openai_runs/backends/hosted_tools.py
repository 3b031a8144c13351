"""Converts calls of hosted tools: a Responses endpoint's items to run steps and annotations, and back. No I/O.

Fields that the Assistants API does not have go into ``extra``, since later model calls must send the item again.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from openai_runs.backends.conversation import without_none
from openai_runs.backends.stream_reading import array, mapping, text
from openai_runs.models.message import CitedFile, FileCitation, FilePath
from openai_runs.models.run_step import (
    CodeInterpreterCall,
    CodeOutput,
    FileSearch,
    FileSearchCall,
    FileSearchResult,
    FoundText,
    ImageOutput,
    InterpretedCode,
    LogsOutput,
    OutputImage,
    StepToolCall,
)

Json: TypeAlias = Mapping[str, Any]


def file_search_call(item: Json) -> FileSearchCall:
    """Convert an item of type ``file_search_call``.

    Raises:
        StreamError: The item is invalid.
    """
    results = [_result(mapping(found, "a result")) for found in array(item.get("results"), "results")]
    # Results are null unless the request includes them; null is not the same as no results.
    search = FileSearch(
        results=tuple(results) if item.get("results") is not None else None,
        extra={"queries": list(array(item.get("queries"), "queries"))},
    )
    return FileSearchCall(id=text(item.get("id"), "an ID"), file_search=search)


def _result(found: Json) -> FileSearchResult:
    score = found.get("score")
    content = text(found.get("text"), "a text")
    return FileSearchResult(
        file_id=text(found.get("file_id"), "an ID"),
        file_name=text(found.get("filename"), "a file name"),
        score=score if isinstance(score, int | float) else 0.0,
        content=(FoundText(type="text", text=content),) if content else (),
    )


def code_interpreter_call(item: Json) -> CodeInterpreterCall:
    """Convert an item of type ``code_interpreter_call``.

    Raises:
        StreamError: The item is invalid.
    """
    outputs = [_output(mapping(each, "an output")) for each in array(item.get("outputs"), "outputs")]
    container = text(item.get("container_id"), "an ID")
    code = InterpretedCode(
        input=text(item.get("code"), "code"),
        outputs=tuple(outputs),
        extra={"container_id": container} if container else {},
    )
    return CodeInterpreterCall(id=text(item.get("id"), "an ID"), code_interpreter=code)


def _output(output: Json) -> CodeOutput:
    if output.get("type") == "image":  # it has a URL where the Assistants API has a file ID
        return ImageOutput(image=OutputImage(file_id="", extra=without_none(url=output.get("url"))))
    return LogsOutput(logs=text(output.get("logs"), "logs"))


def hosted_call_item(call: StepToolCall) -> dict[str, Any] | None:
    """Convert a call back to its item; ``None`` if it did not come from this API."""
    match call:
        # A search that was made here has ranking options, too, and an ID that the endpoint would refuse.
        case FileSearchCall(file_search=search) if "queries" in search.extra and search.ranking_options is None:
            results = [
                without_none(
                    file_id=found.file_id,
                    filename=found.file_name,
                    score=found.score,
                    text="\n".join(part.text or "" for part in found.content) or None,
                )
                for found in search.results or ()
            ]
            item = {"type": "file_search_call", "id": call.id, "status": "completed"}
            return item | without_none(queries=search.extra["queries"], results=results or None)
        case CodeInterpreterCall(code_interpreter=code) if "container_id" in code.extra:
            logs = [{"type": "logs", "logs": each.logs} for each in code.outputs if isinstance(each, LogsOutput)]
            return {
                "type": "code_interpreter_call",
                "id": call.id,
                "status": "completed",
                "container_id": code.extra["container_id"],
                "code": code.input,
                "outputs": logs,
            }
        case _:
            return None


def note_on_code(call: CodeInterpreterCall) -> str:
    """A text in place of a call whose container is gone."""
    logs = "\n".join(each.logs for each in call.code_interpreter.outputs if isinstance(each, LogsOutput))
    code = call.code_interpreter.input
    return f"[This code was run here, in a container that has expired:]\n{code}\n[Its output:]\n{logs or '(none)'}"


def file_citation(note: Json, marker: str, start: int, end: int) -> FileCitation:
    """Convert an annotation of type ``file_citation``, whose marker is in the text from ``start`` to ``end``."""
    cited = CitedFile(file_id=text(note.get("file_id"), "an ID"))
    return FileCitation(text=marker, file_citation=cited, start_index=start, end_index=end)


def generated_file(note: Json, written: str) -> FilePath:
    """Convert an annotation of a file that code has generated: ``container_file_citation`` or ``file_path``.

    Args:
        note: The annotation. Its own indexes cannot be used: they do not count the citation markers that we insert.
        written: The text so far, markers included.
    """
    file_id = text(note.get("file_id"), "an ID")
    path = f"sandbox:/mnt/data/{text(note.get('filename'), 'a file name') or file_id}"
    start = written.rfind(path)
    place = (start, start + len(path)) if start >= 0 else (0, 0)
    made = CitedFile(file_id=file_id, extra=without_none(container_id=note.get("container_id")))
    return FilePath(text=path, file_path=made, start_index=place[0], end_index=place[1])
