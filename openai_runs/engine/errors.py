"""`ApiError`: a request that the engine refuses, with the fields of the API's error body."""

from openai_runs.errors import OpenAIRunsError


class ApiError(OpenAIRunsError):
    """A request cannot be carried out; the server makes the API's error body of it.

    Attributes:
        status: The HTTP status.
        message: What is wrong, for a human reader.
        type: ``invalid_request_error``, or ``server_error`` if the caller is not at fault.
        param: The request parameter at fault, if there is one.
        code: What is wrong, for programs; ``None`` for most errors, as in the API.
        retry_after: Seconds after which the same request may be carried out; ``None`` if nobody knows.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.param = param
        self.code = code
        self.retry_after = retry_after


class AbandonedError(Exception):
    """A run was ended, or is about to be, while its turn went on: the turn changes nothing more."""


def not_found(what: str, id: str) -> ApiError:
    """Make the 404 of the hosted API, which hides objects of other owners too."""
    return ApiError(404, f"No {what} found with id '{id}'.")
