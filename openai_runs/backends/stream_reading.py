"""What the readers of both APIs' streams share: errors, type checks, usage, tool calls in parts. No I/O."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, TypeVar

from attrs import define, field

from openai_runs import _wire
from openai_runs._http.retries import is_out_of_credit
from openai_runs.backends.model_backend import BackendEvent, ToolCallChunk, UsageReport
from openai_runs.errors import ProtocolError, snippet

T = TypeVar("T")
Code: TypeAlias = Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]


class StreamError(Exception):
    """A response that is invalid, or that reports an error.

    Attributes:
        message: What happened, in the endpoint's words if it has any.
        code: The code for the run's ``last_error``.
        retryable: Whether a retry may succeed.
        too_long: Whether the conversation is too long for the model.
    """

    def __init__(
        self, message: str, code: Code = "server_error", *, retryable: bool = True, too_long: bool = False
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code: Code = code
        self.retryable = retryable
        self.too_long = too_long


class CutError(StreamError):
    """A response that was cut off.

    Its text has the ``detail`` for the log, such as where the endpoint is; ``message`` does not.
    """

    def __init__(self, message: str, *, retryable: bool = True, detail: str = "") -> None:
        super().__init__(message, retryable=retryable)
        if detail:
            self.args: tuple[Any, ...] = (detail,)


_TOO_LONG_CODES: Final = frozenset({"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"})
_TOO_LONG_WORDS: Final = re.compile(
    r"context (length|size|window|limit)"  # OpenAI, Azure, vLLM, llama.cpp, Mistral, DeepSeek, Anthropic
    r"|prompt (is )?too long|longer than the maximum model length"  # Anthropic, Ollama; vLLM
    r"|maximum (prompt|input) length|max(imum)? input tokens"  # xAI; Bedrock
    r"|input token count.*exceeds|exceeds the maximum number of (input )?tokens"  # Gemini
    r"|`inputs` (must have less than|tokens \+)"  # TGI, and gateways in front of it
    r"|input is too long|too many (input )?tokens|exceeds maximum length|expected maxlength"  # Bedrock
    r"|reduce the length of the (messages|prompt|input)",  # Groq, Together
    re.IGNORECASE | re.DOTALL,
)
_INVALID: Final = frozenset({"invalid_prompt", "invalid_request_error", "content_policy_violation", "content_filter"})


def is_too_long(message: str, *codes: object) -> bool:
    """Whether an error means that the conversation is too long; every server reports it in another way."""
    return any(code in _TOO_LONG_CODES for code in codes) or _TOO_LONG_WORDS.search(message) is not None


def reported_error(error: Any) -> StreamError:
    """Make the exception for an error in a stream, which is an object or text."""
    fields: Mapping[str, Any] = error if isinstance(error, dict) else {"message": error}
    message = str(fields.get("message") or "no reason given")
    code, type = (found if isinstance(found := fields.get(name), str | int) else None for name in ("code", "type"))
    if is_too_long(message, code, type):
        return StreamError(message, "invalid_prompt", retryable=False, too_long=True)
    if is_out_of_credit(code, type):
        return StreamError(message, "rate_limit_exceeded", retryable=False)
    if code in ("rate_limit_exceeded", 429, "429") or type == "rate_limit_error":
        return StreamError(message, "rate_limit_exceeded")
    image = isinstance(code, str) and "image" in code  # the Responses API has a dozen codes for bad images
    if image or code in _INVALID or type in _INVALID or code in (400, "400"):
        return StreamError(message, "invalid_prompt", retryable=False)
    return StreamError(message)


def usage_report(usage: Any, prompt: str, completion: str) -> UsageReport | None:
    """Convert a ``usage`` object; ``None`` if it has no numbers."""
    if not isinstance(usage, dict):
        return None
    counts = [usage.get(prompt), usage.get(completion)]
    if not any(isinstance(count, int) for count in counts):
        return None
    return UsageReport(*(count if isinstance(count, int) else 0 for count in counts))


def text(value: Any, what: str) -> str:
    """Check that a value is text; null becomes the empty one.

    Raises:
        StreamError: The value has another type.
    """
    return "" if value is None else _expect(value, str, what)


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    """Check that a value is an object; null becomes the empty one.

    Raises:
        StreamError: The value has another type.
    """
    return {} if value is None else _expect(value, dict, what)


def array(value: Any, what: str) -> Sequence[Any]:
    """Check that a value is an array; null becomes the empty one.

    Raises:
        StreamError: The value has another type.
    """
    return [] if value is None else _expect(value, list, what)


def _expect(value: Any, kind: type[T], what: str) -> T:
    if not isinstance(value, kind):
        raise StreamError(f"the endpoint sent {what} of the wrong type: {value!r:.100}", retryable=False)
    return value


def parse_event(data: bytes) -> Mapping[str, Any]:
    """Parse the data of an event.

    Raises:
        CutError: It is not JSON, usually because the stream was cut off within it.
        StreamError: It is not an object.
    """
    try:
        return mapping(_wire.decode(data), "an event")
    except ProtocolError as error:
        raise CutError(f"the endpoint sent an event that is not JSON: {snippet(data, 100)}") from error


@define
class CallParts:
    """A function call, assembled from its parts; held back until its name is known."""

    index: int  #: identifies the call within its response
    id: str | None = field(default=None, init=False)
    name: str = field(default="", init=False)
    arguments: str = field(default="", init=False)  #: so far
    _begun: bool = field(default=False, init=False)

    def add(self, id: str = "", name: str = "", arguments: str = "") -> list[BackendEvent]:
        """Add a part."""
        self.id = self.id or id or None
        self.name = self.name or name  # some servers repeat it with each part
        self.arguments += arguments
        if self._begun:
            return [ToolCallChunk(self.index, arguments=arguments)] if arguments else []
        if not self.name:
            return []
        self._begun = True
        return [ToolCallChunk(self.index, self.id, self.name, self.arguments)]

    def end(self) -> list[BackendEvent]:
        """Finish the call, as there are no more parts.

        Raises:
            StreamError: No part had the function's name.
        """
        if not self._begun:
            raise StreamError("the endpoint sent a tool call without the function's name", retryable=False)
        # Some servers send no arguments for a function without parameters, and programs parse what they get.
        return [] if self.arguments.strip() else self.add(arguments="{}")
