"""Every error this library raises on its own, as one tree; a branch is who has to act.

Misuse, such as a closed session or minus one workers, is a plain ``RuntimeError``, ``TypeError`` or ``ValueError``.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from openai_runs.models.run import Run
    from openai_runs.models.tool import ToolCall

__all__ = [
    "AuthenticationError",
    "BackendError",
    "BadRequestError",
    "ConflictError",
    "HistoryTooLargeError",
    "NotFoundError",
    "OpenAIRunsError",
    "PermissionDeniedError",
    "ProtocolError",
    "RateLimitError",
    "ResponseError",
    "RunActionRequiredError",
    "RunCancelledError",
    "RunDeadlineError",
    "RunError",
    "RunExpiredError",
    "RunFailedError",
    "RunIncompleteError",
    "RunStuckError",
    "ServerError",
    "StoreDataError",
    "StoreError",
    "StoreFileError",
    "StoreUnavailableError",
    "ToolError",
    "TransportError",
    "UnknownCursorError",
    "UnsupportedEndpointError",
]


class OpenAIRunsError(Exception):
    """The root: whatever this library raises on its own is one of these."""

    def __reduce__(self) -> Any:
        # Exception's own would call the class with nothing but the message; ours take keywords.
        return _restore, (type(self), self.args, self.__dict__)


def _restore(cls: type[OpenAIRunsError], args: tuple[Any, ...], state: dict[str, Any]) -> OpenAIRunsError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class TransportError(OpenAIRunsError):
    """No usable answer: refused, reset, cut off, timed out. For whoever looks after the network.

    Attributes:
        maybe_done: Whether the request may have had its effect all the same. ``False`` if it surely never
            reached the server.
    """

    def __init__(self, message: str, *, maybe_done: bool = True) -> None:
        super().__init__(message)
        self.maybe_done = maybe_done


class ProtocolError(OpenAIRunsError):
    """The server said what the API does not. For the server's author.

    Attributes:
        paths: What is wrong where, as in ``expected str, got int @ $.data[3].status``; empty if the whole body is.
        status: The HTTP status of the answer, or ``None`` for an event of a stream.
        body: The beginning of what came.
    """

    def __init__(self, message: str, *, paths: tuple[str, ...] = (), status: int | None = None, body: str = "") -> None:
        super().__init__(message)
        self.paths = paths
        self.status = status
        self.body = body


class ResponseError(OpenAIRunsError):
    """The server said no. For the caller; a subclass a reason.

    Attributes:
        status: The HTTP status; ``None`` if the error came as an event of a stream.
        code: The API's error code, such as ``invalid_value``.
        type: The API's error type, such as ``invalid_request_error``.
        param: The request parameter at fault.
        message: The server's own words.
        request_id: What the server's support will ask for.
        headers: The answer's headers, by lower-case names.
        body: The beginning of the answer, as it came.
    """

    def __init__(
        self,
        text: str,
        *,
        status: int | None,
        message: str = "",
        type: str | None = None,
        code: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: str = "",
    ) -> None:
        super().__init__(text)
        self.status = status
        self.message = message
        self.type = type
        self.code = code
        self.param = param
        self.request_id = request_id
        self.headers: Mapping[str, str] = {} if headers is None else headers
        self.body = body


class BadRequestError(ResponseError):
    """400 or 422: the request is wrong, or the thread is locked by an active run. Nothing was done."""


class AuthenticationError(ResponseError):
    """401: the API key is missing or wrong."""


class PermissionDeniedError(ResponseError):
    """403: the key is right and may not do this."""


class NotFoundError(ResponseError):
    """404: no such object, or not for this key."""


class UnsupportedEndpointError(NotFoundError):
    """404 for the whole path: this endpoint does not speak the Assistants API."""


class ConflictError(ResponseError):
    """409: something else changed the object at the same time."""


class RateLimitError(ResponseError):
    """429: too much for this account, also after the retries."""


class ServerError(ResponseError):
    """5xx: the server failed, also after the retries."""


_CLASS_OF: Final[Mapping[int, type[ResponseError]]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: BadRequestError,
    429: RateLimitError,
}


def response_error_class(status: int) -> type[ResponseError]:
    """The class for an HTTP status."""
    return ServerError if status >= 500 else _CLASS_OF.get(status, ResponseError)


class RunError(OpenAIRunsError):
    """A run did not complete. For whoever wrote the instructions, or waits for too long.

    Attributes:
        run: The run as it was last seen.
    """

    def __init__(self, message: str, *, run: "Run") -> None:
        super().__init__(message)
        self.run = run


class RunFailedError(RunError):
    """The run ended ``failed``; ``run.last_error`` says why."""


class RunCancelledError(RunError):
    """The run was cancelled. The caller's own cancellation is never turned into this."""


class RunExpiredError(RunError):
    """The run did not end before ``expires_at``, tool outputs included."""


class RunIncompleteError(RunError):
    """The run ran into a token limit; ``run.incomplete_details`` says which."""


class RunDeadlineError(RunError, TimeoutError):
    """The caller's deadline passed; the run may still go on."""


class RunStuckError(RunError, TimeoutError):
    """The run stayed ``queued`` for longer than `Polling.queued_timeout`."""


class RunActionRequiredError(RunError):
    """The run waits for tool outputs, and there is no toolbox to make them."""


class ToolError(OpenAIRunsError):
    """One of the caller's tools failed. For the tool's author; the cause is in ``__cause__``.

    Attributes:
        tool_call: The call that could not be answered.
    """

    def __init__(self, message: str, *, tool_call: "ToolCall | None" = None) -> None:
        super().__init__(message)
        self.tool_call = tool_call


class BackendError(OpenAIRunsError):
    """The model could not be asked, or broke off; the run fails with this. For whoever runs the model's endpoint.

    Attributes:
        code: One of the API's three codes.
        message: For the reader of the run's ``last_error``.
    """

    def __init__(self, code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"], message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class StoreError(OpenAIRunsError):
    """The engine's store cannot do what it is asked. For whoever runs the server.

    Attributes:
        message: What happened, without the name of a file.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class StoreUnavailableError(StoreError):
    """The store cannot take a commit, or be read, now: the disk is full, say. Nothing was stored; try again later."""


class StoreDataError(StoreError):
    """The store cannot give or take this object: it is damaged or too large. Trying again does not help."""


class HistoryTooLargeError(StoreError):
    """A thread has more in it than is read for a model call; the run fails with this."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"The thread is too large for a model call: the messages and tool calls to be sent are more than "
            f"{most} bytes. Truncate it with 'truncation_strategy.last_messages'."
        )


class StoreFileError(StoreError, OSError):
    """A file cannot be opened as a store: it is in use, damaged, another program's, or a later version's."""


class UnknownCursorError(StoreError, LookupError):
    """A page was asked for that starts or ends at an object which is not in the list.

    Attributes:
        param: ``after`` or ``before``.
    """

    def __init__(self, param: str) -> None:
        super().__init__(f"there is no object to start {param!r} in the list")
        self.param = param


def run_error(run: "Run") -> RunError:
    """The error for a run that has ended badly."""
    cls, why = {
        "failed": (RunFailedError, run.last_error and f"{run.last_error.code}: {run.last_error.message}"),
        "cancelled": (RunCancelledError, None),
        "expired": (RunExpiredError, "it did not end before expires_at, which waiting for tool outputs counts in"),
        "incomplete": (RunIncompleteError, run.incomplete_details and run.incomplete_details.reason),
    }.get(run.status, (RunError, None))
    return cls(f"run {run.id} on {run.thread_id} ended {run.status}" + (f": {why}" if why else ""), run=run)


def snippet(body: bytes | str, most: int = 300) -> str:
    """The beginning of a body, fit for a message."""
    text: Any = body.decode(errors="replace") if isinstance(body, bytes) else body
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"
