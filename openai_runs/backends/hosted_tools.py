"""Uses of a Responses endpoint's own tools, as run steps and annotations, and back. No I/O.

What the Assistants API has no field for goes into ``extra``: without it, the use could not be told again.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from openai_runs.backends.conversation import given
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
    """Read an item of type ``file_search_call``.

    Raises:
        StreamError: It makes no sense.
    """
    results = [_result(mapping(found, "a result")) for found in array(item.get("results"), "results")]
    # No text that is found is cited to nobody: results are null unless they were asked for.
    search = FileSearch(
        results=tuple(results) if item.get("results") is not None else None,
        extra={"queries": list(array(item.get("queries"), "queries"))},
    )
    return FileSearchCall(id=text(item.get("id"), "an ID"), file_search=search)


def _result(found: Json) -> FileSearchResult:
    score = found.get("score")
    words = text(found.get("text"), "a text")
    return FileSearchResult(
        file_id=text(found.get("file_id"), "an ID"),
        file_name=text(found.get("filename"), "a file name"),
        score=score if isinstance(score, int | float) else 0.0,
        content=(FoundText(type="text", text=words),) if words else (),
    )


def code_interpreter_call(item: Json) -> CodeInterpreterCall:
    """Read an item of type ``code_interpreter_call``.

    Raises:
        StreamError: It makes no sense.
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
    if output.get("type") == "image":  # it has an address, where the Assistants API has a file
        return ImageOutput(image=OutputImage(file_id="", extra=given(url=output.get("url"))))
    return LogsOutput(logs=text(output.get("logs"), "logs"))


def hosted_item(call: StepToolCall) -> dict[str, Any] | None:
    """Write a use as the item it once was; ``None`` if it was none of this API."""
    match call:
        case FileSearchCall(file_search=search) if "queries" in search.extra:
            results = [
                given(
                    file_id=found.file_id,
                    filename=found.file_name,
                    score=found.score,
                    text="\n".join(part.text or "" for part in found.content) or None,
                )
                for found in search.results or ()
            ]
            item = {"type": "file_search_call", "id": call.id, "status": "completed"}
            return item | given(queries=search.extra["queries"], results=results or None)
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


def file_citation(note: Json, mark: str, start: int, end: int) -> FileCitation:
    """Read an annotation of type ``file_citation``, for which a mark stands in the text."""
    cited = CitedFile(file_id=text(note.get("file_id"), "an ID"))
    return FileCitation(text=mark, file_citation=cited, start_index=start, end_index=end)


def made_file(note: Json, written: str) -> FilePath:
    """Read an annotation of a file that code has made: ``container_file_citation`` or ``file_path``.

    Args:
        note: The annotation. Its own indexes do not count the citation marks that we write.
        written: The text so far.
    """
    file_id = text(note.get("file_id"), "an ID")
    path = f"sandbox:/mnt/data/{text(note.get('filename'), 'a file name') or file_id}"
    start = written.rfind(path)
    place = (start, start + len(path)) if start >= 0 else (0, 0)
    made = CitedFile(file_id=file_id, extra=given(container_id=note.get("container_id")))
    return FilePath(text=path, file_path=made, start_index=place[0], end_index=place[1])
