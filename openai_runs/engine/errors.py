"""What the engine refuses, in the words that the API's error body takes."""

from openai_runs.errors import OpenAIRunsError


class ApiError(OpenAIRunsError):
    """A request that cannot be carried out; the server makes the API's error body of it.

    Attributes:
        status: The HTTP status.
        message: For the reader of the error.
        type: ``invalid_request_error``, or ``server_error`` for what is not the caller's fault.
        param: The request parameter at fault, if it is one.
        code: For programs; the API leaves it null for most errors.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.param = param
        self.code = code


def not_found(what: str, id: str) -> ApiError:
    """404 in the words of the hosted API, for objects of other owners too."""
    return ApiError(404, f"No {what} found with id '{id}'.")
