"""What the machines that read live models' streams have in common. No I/O."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from attrs import define, field

from openai_runs import _wire
from openai_runs.backends.model_backend import BackendEvent, ToolCallChunk, UsageReport
from openai_runs.errors import ProtocolError, snippet

Code: TypeAlias = Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]


class StreamError(Exception):
    """An answer that makes no sense, or says that there will be none.

    Attributes:
        message: What happened, in the endpoint's words if it said something.
        code: As the run's ``last_error`` shows it.
        repeatable: Whether the same call may go well another time.
        too_long: Whether the conversation is too long for the model.
    """

    def __init__(
        self, message: str, code: Code = "server_error", *, repeatable: bool = True, too_long: bool = False
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code: Code = code
        self.repeatable = repeatable
        self.too_long = too_long


class CutError(StreamError):
    """An answer that broke off."""


# 429 says two things: slow down, and pay. The second does not pass by waiting.
_NO_CREDIT: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_TOO_LONG_CODES: Final = frozenset({"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"})
_TOO_LONG_WORDS: Final = ("context length", "context size", "context window", "prompt is too long")
_INVALID: Final = frozenset({"invalid_prompt", "invalid_request_error", "content_policy_violation", "content_filter"})


def is_too_long(message: str, *codes: object) -> bool:
    """Whether an endpoint says that the conversation is too long. There is no one way of saying it."""
    return any(code in _TOO_LONG_CODES for code in codes) or any(words in message.lower() for words in _TOO_LONG_WORDS)


def is_out_of_credit(*codes: object) -> bool:
    """Whether waiting does not help against a 429."""
    return any(code in _NO_CREDIT for code in codes)


def reported_error(error: Any) -> StreamError:
    """Make an exception of an error that came in a stream, as an object or as text."""
    fields: Mapping[str, Any] = error if isinstance(error, dict) else {"message": error}
    message, code, type = str(fields.get("message") or "no reason given"), fields.get("code"), fields.get("type")
    if is_too_long(message, code, type):
        return StreamError(message, "invalid_prompt", repeatable=False, too_long=True)
    if is_out_of_credit(code, type):
        return StreamError(message, "rate_limit_exceeded", repeatable=False)
    if code in ("rate_limit_exceeded", 429, "429") or type == "rate_limit_error":
        return StreamError(message, "rate_limit_exceeded")
    image = isinstance(code, str) and "image" in code  # the Responses API has a dozen codes for bad images
    if image or code in _INVALID or type in _INVALID or code in (400, "400"):
        return StreamError(message, "invalid_prompt", repeatable=False)
    return StreamError(message)


def tokens(usage: Any, prompt: str, completion: str) -> UsageReport | None:
    """Read a report of tokens; ``None`` if there are no numbers in it."""
    if not isinstance(usage, dict):
        return None
    counts = [usage.get(prompt), usage.get(completion)]
    if not any(isinstance(count, int) for count in counts):
        return None
    return UsageReport(*(count if isinstance(count, int) else 0 for count in counts))


def text(value: Any, what: str) -> str:
    """Take what must be text, or nothing.

    Raises:
        StreamError: It is something else.
    """
    return _expect(value, str, what) or ""


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    """Take what must be an object, or nothing.

    Raises:
        StreamError: It is something else.
    """
    return _expect(value, dict, what) or {}


def array(value: Any, what: str) -> Sequence[Any]:
    """Take what must be an array, or nothing.

    Raises:
        StreamError: It is something else.
    """
    return _expect(value, list, what) or []


def _expect(value: Any, kind: type, what: str) -> Any:
    if value is not None and not isinstance(value, kind):
        raise StreamError(f"the endpoint sent {what} of the wrong type: {value!r:.100}", repeatable=False)
    return value


def parsed(data: bytes) -> Mapping[str, Any]:
    """Parse the text of an event.

    Raises:
        CutError: It is no JSON, as a rule because the stream was cut in the middle of it.
        StreamError: It is no object.
    """
    try:
        return mapping(_wire.decode(data), "an event")
    except ProtocolError as error:
        raise CutError(f"the endpoint sent what is no JSON: {snippet(data, 100)}") from error


@define
class CallParts:
    """A call of a function, put together from its parts; held back until its name is known."""

    index: int  #: tells the calls of an answer apart
    id: str | None = field(default=None, init=False)
    name: str = field(default="", init=False)
    arguments: str = field(default="", init=False)  #: so far
    _begun: bool = field(default=False, init=False)

    def add(self, id: str = "", name: str = "", arguments: str = "") -> list[BackendEvent]:
        """Take another part."""
        self.id = self.id or id or None
        self.name = self.name or name  # some servers say it again with each part
        self.arguments += arguments
        if self._begun:
            return [ToolCallChunk(self.index, arguments=arguments)] if arguments else []
        if not self.name:
            return []
        self._begun = True
        return [ToolCallChunk(self.index, self.id, self.name, self.arguments)]

    def end(self) -> list[BackendEvent]:
        """Take it that there are no more parts.

        Raises:
            StreamError: Nobody knows which function is called.
        """
        if not self._begun:
            raise StreamError("the endpoint sent a tool call that names no function", repeatable=False)
        # Some servers send nothing for a function without parameters; programs parse what they get.
        return [] if self.arguments.strip() else self.add(arguments="{}")
