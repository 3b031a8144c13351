"""What the engine refuses, in the words that the API's error body takes."""


class ApiError(Exception):
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


class StoreUnavailableError(ApiError):
    """The store cannot take a commit now (a full disk, say). Nothing of it was stored; later may be fine."""

    def __init__(self, message: str) -> None:
        super().__init__(503, message, type="server_error")


class StoreDataError(ApiError):
    """The store cannot give or take this: it is damaged, or too large. Later is no better; other objects are fine."""

    def __init__(self, message: str) -> None:
        super().__init__(500, message, type="server_error")


class HistoryTooLargeError(Exception):
    """There is more in a thread than is read for a model call. The run fails with this.

    Attributes:
        message: For the reader of the run's ``last_error``.
    """

    def __init__(self, most: int) -> None:
        self.message = (
            f"The thread is too large for a model call: the messages and tool calls to be sent are more than "
            f"{most} bytes. Truncate it with 'truncation_strategy.last_messages'."
        )
        super().__init__(self.message)


def not_found(what: str, id: str) -> ApiError:
    """404 in the words of the hosted API, for objects of other owners too."""
    return ApiError(404, f"No {what} found with id '{id}'.")
