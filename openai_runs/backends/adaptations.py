"""How a prompt is changed after the endpoint has refused a part of it. No I/O.

A thread is kept for years, while files are deleted, containers expire and models change. What an endpoint does not
accept any more becomes a note in its place: otherwise every later run of that thread would fail too.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from attrs import field, frozen

from openai_runs._evolving import evolve
from openai_runs.backends.conversation import Item, demanded_function, note_on_part
from openai_runs.backends.hosted_tools import note_on_code
from openai_runs.backends.model_backend import ModelRequest
from openai_runs.backends.replay import without_replay
from openai_runs.backends.stream_reading import StreamError
from openai_runs.errors import ProtocolError, ResponseError, TransportError
from openai_runs.models.message import (
    Content,
    ImageFileContent,
    ImageUrlContent,
    Message,
    MessageRole,
    Text,
    TextContent,
)
from openai_runs.models.run_step import CodeInterpreterCall, RunStep, ToolCalls
from openai_runs.models.tool import FunctionTool, ToolResources

Failure: TypeAlias = StreamError | TransportError | ResponseError | ProtocolError
FAILURES: Final = (StreamError, TransportError, ResponseError, ProtocolError)


def _as_tuple(items: Sequence[Item]) -> tuple[Item, ...]:
    return tuple(items)  # prompts are compared


@frozen
class Prompt:
    """What a model call sends."""

    request: ModelRequest
    items: Sequence[Item] = field(converter=_as_tuple)  #: those of the request's items that the model sees
    asks_for_thoughts: bool = True  #: whether to ask for the model's thoughts, which later calls send again


def whole(prompt: Prompt) -> Prompt:
    """The prompt for a call that does not continue the one before it: that has what was refused, or left out."""
    return evolve(prompt, request=evolve(prompt.request, previous=None))


#: Starts the message for a call of another function than the one that must be called.
IGNORED_CHOICE: Final = "the endpoint ignored tool_choice"

#: Makes the prompt for the next attempt from the endpoint's reason; an equal one if there is nothing to change.
_Change: TypeAlias = Callable[[Prompt, str], Prompt]


def _pattern(words: str) -> re.Pattern[str]:
    return re.compile(words, re.IGNORECASE | re.DOTALL)


@frozen
class Adaptation:
    """A change to a prompt, and the refusal that calls for it."""

    name: str  #: for the log
    change: _Change
    _refusal: re.Pattern[str] = field(converter=_pattern)
    is_lasting: bool = False  #: whether it is about the model, and so applies to all its later calls

    def __call__(self, prompt: Prompt, reason: str) -> Prompt | None:
        """The changed prompt; ``None`` if the refusal has another reason, or nothing can be changed."""
        changed = self.change(prompt, reason) if self._refusal.search(reason) else prompt
        return None if changed == prompt else changed


def _with_parts(prompt: Prompt, change: Callable[[Content], Content]) -> Prompt:
    """Change each part of each message."""
    items = [
        evolve(item, content=tuple(map(change, item.content))) if isinstance(item, Message) else item
        for item in prompt.items
    ]
    return evolve(prompt, items=items)


def _without_images(prompt: Prompt, _: str) -> Prompt:
    def change(part: Content) -> Content:
        return note_on_part(part) if isinstance(part, ImageFileContent | ImageUrlContent) else part

    return _with_parts(prompt, change)


def _without_files(prompt: Prompt, reason: str) -> Prompt:
    """Leave out the files that the reason names."""

    def is_there(id: str | None) -> bool:
        return not id or id not in reason

    def change(part: Content) -> Content:
        is_gone = isinstance(part, ImageFileContent) and not is_there(part.image_file.file_id)
        return note_on_part(part) if is_gone else part

    def without_attachments(item: Item) -> Item:
        if not isinstance(item, Message) or not item.attachments:
            return item
        gone = [each.file_id for each in item.attachments if not is_there(each.file_id)]
        notes = [TextContent(text=Text(value=f"[The file {id} was attached here, and is gone.]")) for id in gone]
        kept = tuple(each for each in item.attachments if is_there(each.file_id))
        return evolve(item, attachments=kept, content=(*item.content, *notes))

    prompt = _with_parts(prompt, change)
    resources = _resources_without(prompt.request.tool_resources, is_there)
    request = evolve(prompt.request, tool_resources=resources)
    return evolve(prompt, request=request, items=[without_attachments(item) for item in prompt.items])


def _resources_without(resources: ToolResources | None, is_there: Callable[[str], bool]) -> ToolResources | None:
    if resources is None or resources.code_interpreter is None:
        return resources
    files = tuple(filter(is_there, resources.code_interpreter.file_ids))
    return evolve(resources, code_interpreter=evolve(resources.code_interpreter, file_ids=files))


def _without_containers(prompt: Prompt, _: str) -> Prompt:
    """Replace code that has run by notes; its container, with the files that it made, is gone."""
    return evolve(prompt, items=[each for item in prompt.items for each in _with_notes_on_code(item)])


def _with_notes_on_code(item: Item) -> Iterable[Item]:
    if not isinstance(item, RunStep):
        return [item]
    codes = [call for call in item.tool_calls if isinstance(call, CodeInterpreterCall)]
    if not codes:
        return [item]
    note = Message(
        id=item.id,
        created_at=item.created_at,
        thread_id=item.thread_id,
        role=MessageRole.ASSISTANT,
        content=(TextContent(text=Text(value="\n\n".join(map(note_on_code, codes)))),),
        run_id=item.run_id,
    )
    others = tuple(call for call in item.tool_calls if not isinstance(call, CodeInterpreterCall))
    # Thoughts that led to the code cannot be sent without it.
    step = evolve(without_replay(item), step_details=ToolCalls(tool_calls=others))
    return [note, step] if others else [note]


def _without_thoughts(prompt: Prompt, _: str) -> Prompt:
    items = [without_replay(item) if isinstance(item, RunStep) else item for item in prompt.items]
    return evolve(prompt, items=items)


def _without_encryption(prompt: Prompt, _: str) -> Prompt:
    return evolve(prompt, asks_for_thoughts=False)


def _without_previous(prompt: Prompt, _: str) -> Prompt:
    return whole(prompt)


def _with_demanded_function_only(prompt: Prompt, _: str) -> Prompt:
    """Offer no other function than the one that must be called, to a server that ignores which one that is."""
    request = prompt.request
    name = demanded_function(request)
    if name is None:
        return prompt
    tools = tuple(tool for tool in request.tools if not isinstance(tool, FunctionTool) or tool.function.name == name)
    return evolve(prompt, request=evolve(request, tools=tools))


def _alternating(prompt: Prompt, _: str) -> Prompt:
    """Join neighbouring messages of one role, as strict chat templates accept no two in a row."""
    joined: list[Item] = []
    for item in prompt.items:
        before = joined[-1] if joined else None
        if isinstance(item, Message) and isinstance(before, Message) and item.role == before.role:
            attachments = (*(before.attachments or ()), *(item.attachments or ()))
            joined[-1] = evolve(before, content=before.content + item.content, attachments=attachments)
        else:
            joined.append(item)
    return evolve(prompt, items=joined)


_ADAPTATIONS: Final[Sequence[Adaptation]] = (
    Adaptation(
        "the response that the call continues is gone, and all is sent again",
        _without_previous,
        r"previous.?response",
    ),
    Adaptation(
        "the model's thoughts are not asked for",
        _without_encryption,
        r"encrypted content is not supported|reasoning\.encrypted_content|unsupported.*\binclude\b",
        is_lasting=True,
    ),
    Adaptation(
        "the model's earlier thoughts are left out",
        _without_thoughts,
        r"encrypted.content|reasoning_(content|details)|thought.?signature|\brs_|(of type|type:?) .?reasoning|\bfc_",
    ),
    Adaptation(
        "code that has run is sent as a note",
        _without_containers,
        r"\bcontainer\b.*(expired|not found|not exist)|\bcntr_",
    ),
    Adaptation(
        "no other function is offered than the one that must be called",
        _with_demanded_function_only,
        f"^{IGNORED_CHOICE}",
        is_lasting=True,
    ),
    Adaptation("files that are gone are sent as notes", _without_files, r"\bfile"),
    Adaptation("images are sent as notes", _without_images, r"image|while downloading|multimodal|\bvision\b"),
    Adaptation("consecutive messages of one role are joined", _alternating, r"\balternat", is_lasting=True),
)


def adapted(prompt: Prompt, error: Failure) -> tuple[Prompt, Adaptation] | None:
    """Change a prompt that the endpoint has refused; ``None`` if it was not refused, or nothing can be changed."""
    if isinstance(error, ResponseError):
        # A failure in a chat template is a 500 of some servers.
        is_refusal = error.status in (400, 404, 410, 415, 422, 500)
        reason = f"{error.code} {error.param} {error.message or error.body}"
    else:
        is_refusal = isinstance(error, StreamError) and error.code == "invalid_prompt"
        reason = str(error)
    for adaptation in _ADAPTATIONS if is_refusal else ():
        if (changed := adaptation(prompt, reason)) is not None:
            return changed, adaptation
    return None
