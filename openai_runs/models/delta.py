"""Deltas: what a stream adds to messages and run steps. All fields are optional except ``index`` and ``type``.

The class of a part is named after the model into which it is merged: `TextContentDelta` after `TextContent`. An
``index`` is the position in the merged object's array.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from attrs import field, frozen

from openai_runs.models.lines import one_line
from openai_runs.models.message import MessageRole
from openai_runs.models.model import ALONE, DEFERRED, NEEDED, Model, Unknown


class _Delta(Model):
    """What deltas have in common: a loader may leave it to whoever asks for it to make their inside."""

    __slots__ = ("_added", "_inside")

    if TYPE_CHECKING:
        _inside: tuple[Any, ...]  #: a function that makes ``delta``, and its arguments
        _added: str | None  #: the text that is added, if it is known without ``delta``
    else:  # type checkers are to report unknown names

        def __getattr__(self, name: str) -> Any:
            """What no slot has: the inside, if nobody has asked for it yet."""
            if name == "delta":
                make, *source = self._inside  # which stays: a second thread may be here, too
                object.__setattr__(self, "delta", inside := make(*source))
                return inside
            if name == "_added":
                return None
            return super().__getattr__(name)


@frozen(kw_only=True, repr=False)
class CitedFileDelta(Model):
    """The file behind an annotation."""

    file_id: str | None = None
    quote: str | None = None


@frozen(kw_only=True, repr=False)
class FileCitationDelta(Model):
    """A passage of a text that cites a file. Source: ``MessageDeltaContentTextAnnotationsFileCitationObject``."""

    index: int
    type: Literal["file_citation"] = "file_citation"
    text: str | None = None
    file_citation: CitedFileDelta | None = None
    start_index: int | None = None
    end_index: int | None = None


@frozen(kw_only=True, repr=False)
class FilePathDelta(Model):
    """A passage of a text that is the path of a file. Source: ``MessageDeltaContentTextAnnotationsFilePathObject``."""

    index: int
    type: Literal["file_path"] = "file_path"
    text: str | None = None
    file_path: CitedFileDelta | None = None
    start_index: int | None = None
    end_index: int | None = None


AnnotationDelta: TypeAlias = FileCitationDelta | FilePathDelta | Unknown


@frozen(kw_only=True, repr=False)
class TextDelta(Model):
    """The next piece of a text, and annotations of passages in it."""

    value: str | None = field(default=None, metadata=ALONE)
    annotations: tuple[AnnotationDelta, ...] = ()


@frozen(kw_only=True, repr=False)
class TextContentDelta(Model):
    """A text part of a message. Source: ``MessageDeltaContentTextObject``."""

    index: int
    type: Literal["text"] = "text"
    text: TextDelta | None = None


@frozen(kw_only=True, repr=False)
class ImageFileDelta(Model):
    """An uploaded image."""

    file_id: str | None = None
    detail: str | None = None  #: ``auto``, ``low`` or ``high``


@frozen(kw_only=True, repr=False)
class ImageFileContentDelta(Model):
    """An uploaded image as a part of a message. Source: ``MessageDeltaContentImageFileObject``."""

    index: int
    type: Literal["image_file"] = "image_file"
    image_file: ImageFileDelta | None = None


@frozen(kw_only=True, repr=False)
class ImageUrlDelta(Model):
    """An image at an external URL."""

    url: str | None = None
    detail: str | None = None  #: ``auto``, ``low`` or ``high``


@frozen(kw_only=True, repr=False)
class ImageUrlContentDelta(Model):
    """An image at an external URL, as a part of a message. Source: ``MessageDeltaContentImageUrlObject``."""

    index: int
    type: Literal["image_url"] = "image_url"
    image_url: ImageUrlDelta | None = None


@frozen(kw_only=True, repr=False)
class RefusalContentDelta(Model):
    """The next piece of a refusal. Source: ``MessageDeltaContentRefusalObject``."""

    index: int
    type: Literal["refusal"] = "refusal"
    refusal: str | None = None


ContentDelta: TypeAlias = (
    TextContentDelta | ImageFileContentDelta | ImageUrlContentDelta | RefusalContentDelta | Unknown
)


@frozen(kw_only=True, repr=False)
class MessageChanges(Model):
    """What a delta adds to a message; usually only the next piece of its text."""

    role: MessageRole | None = None
    content: tuple[ContentDelta, ...] = ()


@frozen(kw_only=True, repr=False)
class MessageDelta(_Delta):
    """The next piece of a message. Source: Assistants v2 API, ``MessageDeltaObject``."""

    id: str = field(metadata=NEEDED)  #: the message's
    object: str = "thread.message.delta"
    delta: MessageChanges = field(metadata=DEFERRED)

    def __str__(self) -> str:
        """One line of at most 80 characters. `text` is what is added."""
        return one_line(f"{self.id} + {self.text!r}")

    @property
    def text(self) -> str:
        """The added text; empty if the delta adds none."""
        if (added := self._added) is not None:
            return added
        parts = [part.text.value for part in self.delta.content if isinstance(part, TextContentDelta) and part.text]
        return "".join(part for part in parts if part)


@frozen(kw_only=True, repr=False)
class CreatedMessageDelta(Model):
    """The message that a step writes."""

    message_id: str | None = None


@frozen(kw_only=True, repr=False)
class MessageCreationDelta(Model):
    """Details of a step that writes a message. Source: ``RunStepDeltaStepDetailsMessageCreationObject``."""

    type: Literal["message_creation"] = "message_creation"
    message_creation: CreatedMessageDelta | None = None


@frozen(kw_only=True, repr=False)
class CalledFunctionDelta(Model):
    """The next piece of a function call's arguments; the first piece also has the name."""

    name: str | None = None
    arguments: str | None = None
    output: str | None = None


@frozen(kw_only=True, repr=False)
class FunctionStepCallDelta(Model):
    """A call of the caller's function. Source: ``RunStepDeltaStepDetailsToolCallsFunctionObject``."""

    index: int
    id: str | None = None
    type: Literal["function"] = "function"
    function: CalledFunctionDelta | None = None


@frozen(kw_only=True, repr=False)
class LogsOutputDelta(Model):
    """The next piece of what code printed. Source: ``RunStepDeltaStepDetailsToolCallsCodeOutputLogsObject``."""

    index: int
    type: Literal["logs"] = "logs"
    logs: str | None = None


@frozen(kw_only=True, repr=False)
class OutputImageDelta(Model):
    """The file of an image that code made."""

    file_id: str | None = None


@frozen(kw_only=True, repr=False)
class ImageOutputDelta(Model):
    """An image that code made. Source: ``RunStepDeltaStepDetailsToolCallsCodeOutputImageObject``."""

    index: int
    type: Literal["image"] = "image"
    image: OutputImageDelta | None = None


CodeOutputDelta: TypeAlias = LogsOutputDelta | ImageOutputDelta | Unknown


@frozen(kw_only=True, repr=False)
class InterpretedCodeDelta(Model):
    """The next piece of code, or of its outputs."""

    input: str | None = None
    outputs: tuple[CodeOutputDelta, ...] = ()


@frozen(kw_only=True, repr=False)
class CodeInterpreterCallDelta(Model):
    """A use of the code interpreter. Source: ``RunStepDeltaStepDetailsToolCallsCodeObject``."""

    index: int
    id: str | None = None
    type: Literal["code_interpreter"] = "code_interpreter"
    code_interpreter: InterpretedCodeDelta | None = None


@frozen(kw_only=True, repr=False)
class FileSearchCallDelta(Model):
    """A use of file search. Source: ``RunStepDeltaStepDetailsToolCallsFileSearchObject``."""

    index: int
    id: str | None = None
    type: Literal["file_search"] = "file_search"
    file_search: Mapping[str, Any] | None = field(default=None, hash=False)  #: empty, for now


StepToolCallDelta: TypeAlias = FunctionStepCallDelta | CodeInterpreterCallDelta | FileSearchCallDelta | Unknown


@frozen(kw_only=True, repr=False)
class ToolCallsDelta(Model):
    """Details of a step that uses tools. Source: ``RunStepDeltaStepDetailsToolCallsObject``."""

    type: Literal["tool_calls"] = "tool_calls"
    tool_calls: tuple[StepToolCallDelta, ...] = ()


StepDetailsDelta: TypeAlias = MessageCreationDelta | ToolCallsDelta | Unknown


@frozen(kw_only=True, repr=False)
class RunStepChanges(Model):
    """What a delta adds to a run step."""

    step_details: StepDetailsDelta | None = None


@frozen(kw_only=True, repr=False)
class RunStepDelta(_Delta):
    """The next piece of a run step. Source: Assistants v2 API, ``RunStepDeltaObject``."""

    id: str = field(metadata=NEEDED)  #: the step's
    object: str = "thread.run.step.delta"
    delta: RunStepChanges = field(metadata=DEFERRED)

    def __str__(self) -> str:
        """One line of at most 80 characters: what kind of details are added."""
        details = self.delta.step_details
        return one_line(f"{self.id} + {details.type if details else 'nothing'}")
