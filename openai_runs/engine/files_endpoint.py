"""`FilesEndpoint`: what the engine asks of the endpoint that has the files and vector stores, if it has none itself."""

from collections.abc import Mapping
from typing import Any, Protocol


class FilesEndpoint(Protocol):
    """An endpoint with ``/files`` and ``/vector_stores``."""

    async def request(
        self, method: str, path: str, /, body: Mapping[str, Any] | None = None, **ids: str
    ) -> Mapping[str, Any]:
        """Send a request, and return the object that it is answered with.

        Args:
            method: Such as ``POST``.
            path: With names of IDs, such as ``/vector_stores/{vector_store_id}``.
            body: Sent as JSON.
            **ids: The IDs in the path.

        Raises:
            ApiError: The endpoint refuses it, or there is no answer.
        """
        ...
