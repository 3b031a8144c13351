"""Every error that programs have to expect of this library, as one tree; each branch stands for who has to act.

Misuse, such as a closed session or minus one workers, is a plain ``RuntimeError``, ``TypeError`` or ``ValueError``. The
engine's refusal of a request, of which the server makes a response, is ``openai_runs.engine.ApiError``, in this tree.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from openai_runs.models.run import Run
    from openai_runs.models.tool import ToolCall

__all__ = [
    "AnswerError",
    "AuthenticationError",
    "BackendError",
    "BadRequestError",
    "ChangedElsewhereError",
    "ConflictError",
    "FileError",
    "HistoryTooLargeError",
    "KeyUsedError",
    "MissingExtraError",
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
    "WorkerLostError",
]


class OpenAIRunsError(Exception):
    """The base class of this library's errors.

    Attributes:
        maybe_done: Whether a request that was to change something may have taken effect although it failed.
    """

    maybe_done: bool = False

    def __reduce__(self) -> Any:
        # For pickle and copy: Exception's own would call the class with the message only; ours require keywords.
        return _restore, (type(self), self.args, self.__dict__)


def _restore(cls: type[OpenAIRunsError], args: tuple[Any, ...], state: dict[str, Any]) -> OpenAIRunsError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class TransportError(OpenAIRunsError):
    """No usable response: the connection was refused, reset, broken or timed out. Check the network.

    Attributes:
        maybe_done: Whether the request may have taken effect. ``False`` if it certainly never reached the server, or
            is a GET, which changes nothing.
        problem: How the connection failed, in words that do not say where it led; empty if that is not known.
    """

    def __init__(self, message: str, *, maybe_done: bool = True, problem: str = "") -> None:
        super().__init__(message)
        self.maybe_done: bool = maybe_done
        self.problem = problem


class ProtocolError(OpenAIRunsError):
    """The server's response does not fit the API. Report it to the server's author.

    Attributes:
        paths: What is wrong and where, such as ``expected str, got int @ $.data[3].status``; empty if it is not JSON.
        status: The HTTP status of the response, or ``None`` for an event of a stream.
        body: The beginning of the body.
        maybe_done: Whether the request may have taken effect: it may if the response is a success that cannot be read.
    """

    def __init__(self, message: str, *, paths: tuple[str, ...] = (), status: int | None = None, body: str = "") -> None:
        super().__init__(message)
        self.paths = paths
        self.status = status
        self.body = body
        self.maybe_done: bool = status is not None and 200 <= status < 300


class ResponseError(OpenAIRunsError):
    """The server refused the request or failed at it. The caller has to act; one subclass per reason.

    Attributes:
        status: The HTTP status; ``None`` if the error came as an event of a stream.
        code: The API's error code, such as ``invalid_value``.
        type: The API's error type, such as ``invalid_request_error``.
        param: The name of the invalid request parameter.
        message: The server's message.
        request_id: The server's ID of the request; its support will ask for it.
        headers: The response's headers, with lower-case names.
        body: The beginning of the response's body.
        maybe_done: Whether the request may have taken effect: it may after a 5xx or 408, which say nothing of it.
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
        self.maybe_done: bool = status is not None and (status == 408 or status >= 500)


class BadRequestError(ResponseError):
    """400 or 422: the request is wrong, or the thread is locked by an active run. Nothing was done."""


class AuthenticationError(ResponseError):
    """401: the API key is missing or wrong."""


class PermissionDeniedError(ResponseError):
    """403: the key is valid, but has no permission for this."""


class NotFoundError(ResponseError):
    """404: the object does not exist, or this key may not see it."""


class UnsupportedEndpointError(NotFoundError):
    """404 for the whole path: this endpoint does not speak the Assistants API."""


class ConflictError(ResponseError):
    """409: another request changed the object at the same time."""


class RateLimitError(ResponseError):
    """429: too many requests or tokens for this account, even after all retries."""


class ServerError(ResponseError):
    """5xx: the server failed, even after all retries."""


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
    """The error class for an HTTP status."""
    return ServerError if status >= 500 else _CLASS_OF.get(status, ResponseError)


class RunError(OpenAIRunsError):
    """A run did not complete. Check its instructions and tools, or how long you wait for it.

    Attributes:
        run: The latest snapshot.
    """

    def __init__(self, message: str, *, run: "Run") -> None:
        super().__init__(message)
        self.run = run


class RunFailedError(RunError):
    """The run ended ``failed``; ``run.last_error`` says why."""


class RunCancelledError(RunError):
    """The run was cancelled. Cancelling the caller's own task never raises this."""


class RunExpiredError(RunError):
    """The run did not end before ``expires_at``, the time spent waiting for tool outputs included."""


class RunIncompleteError(RunError):
    """The run reached a token limit; ``run.incomplete_details`` says which."""


class RunDeadlineError(RunError, TimeoutError):
    """The caller's deadline has passed; the run may still be active.

    Attributes:
        maybe_done: Whether it passed while tool outputs were being submitted, which may have arrived.
    """

    def __init__(self, message: str, *, run: "Run", maybe_done: bool = False) -> None:
        super().__init__(message, run=run)
        self.maybe_done: bool = maybe_done


class RunStuckError(RunError, TimeoutError):
    """The run stayed ``queued`` for longer than `Polling.queued_timeout`."""


class RunActionRequiredError(RunError):
    """The run waits for tool outputs and there is no toolbox, or for something that no toolbox can give."""


class AnswerError(OpenAIRunsError):
    """An answer does not fit the class that it was to be made of, or there is none. For the author of the instructions.

    Attributes:
        text: The answer's text, whole.
        refusal: What the model said instead of an answer, or ``None``.
    """

    def __init__(self, message: str, *, text: str, refusal: str | None = None) -> None:
        super().__init__(message)
        self.text = text
        self.refusal = refusal


class ToolError(OpenAIRunsError):
    """One of the caller's tools failed. The tool's author has to act; its exception is in ``__cause__``.

    Attributes:
        tool_call: The call that has no output.
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


class FileError(OpenAIRunsError):
    """A file cannot be made searchable. For whoever has uploaded it, unless the code says that the server failed.

    Attributes:
        code: One of the API's codes of a vector store's file.
        message: For the reader of the file's ``last_error``.
    """

    def __init__(self, code: Literal["server_error", "unsupported_file", "invalid_file"], message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class StoreError(OpenAIRunsError):
    """A store cannot do what it is asked: the engine's, or that of durable batches. For whoever runs it.

    Attributes:
        message: What happened, without the name of a file.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class StoreUnavailableError(StoreError):
    """The store cannot take a commit, or be read, now: the disk is full, say, or the database does not answer.

    Nothing was stored; try again later.
    """


class StoreDataError(StoreError):
    """The store cannot give or take this object: it is damaged or too large. Trying again does not help."""


class ChangedElsewhereError(StoreUnavailableError):
    """A commit rests on what another server has changed; nothing was stored, and the decision is to be made again."""

    def __init__(self) -> None:
        super().__init__("Another server has changed this at the same time. Nothing was changed; try again.")


class KeyUsedError(StoreError):
    """A commit has an idempotency key that is in the store already; nothing was stored."""

    def __init__(self) -> None:
        super().__init__("This idempotency key was used before. Nothing was changed.")


class HistoryTooLargeError(StoreError):
    """A thread has more in it than is read for a model call; the run fails with this."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"The thread is too large for a model call: the messages and tool calls to be sent are more than "
            f"{most} bytes. Truncate it with 'truncation_strategy.last_messages'."
        )


class StoreFileError(StoreError, OSError):
    """A file, or a database, cannot be opened as a store: it is in use, damaged, another's, or a later version's."""


class UnknownCursorError(StoreError, LookupError):
    """A page was asked for that starts or ends at an object which is not in the list.

    Attributes:
        param: ``after`` or ``before``.
    """

    def __init__(self, param: str) -> None:
        super().__init__(f"there is no object to start {param!r} in the list")
        self.param = param


class MissingExtraError(OpenAIRunsError, ModuleNotFoundError):
    """A package is not installed that comes with an extra. For whoever installs; the message says what to do."""


class WorkerLostError(OpenAIRunsError):
    """A worker of durable batches could not show that it is alive, and has stopped: others have its jobs.

    For whoever runs the worker: it was stopped for too long, or cannot reach its database. Open the batches again.
    """


def run_error(run: "Run") -> RunError:
    """The error for a run that has ended without completing."""
    cls, reason = {
        "failed": (RunFailedError, run.last_error and f"{run.last_error.code}: {run.last_error.message}"),
        "cancelled": (RunCancelledError, None),
        "expired": (RunExpiredError, "it did not end before expires_at; waiting for tool outputs counts, too"),
        "incomplete": (RunIncompleteError, run.incomplete_details and run.incomplete_details.reason),
    }.get(run.status, (RunError, None))
    return cls(f"run {run.id} on {run.thread_id} ended {run.status}" + (f": {reason}" if reason else ""), run=run)


def snippet(body: bytes | str, most: int = 300) -> str:
    """The beginning of a text or body, short enough for an error message."""
    text: Any = body.decode(errors="replace") if isinstance(body, bytes) else body
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"
