"""Vectors of texts, from an endpoint with ``/embeddings``, such as the hosted API, Ollama or vLLM."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final, Protocol

from openai_runs._arguments import check_count, check_seconds
from openai_runs._extras import needs
from openai_runs._http.outward import outward
from openai_runs._http.transport import ApiKey, Transport
from openai_runs.errors import BackendError, ProtocolError, ResponseError, TransportError

with needs("files"):
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_logger = logging.getLogger("openai_runs.file_search")

_LARGEST: Final = 65_536  # numbers in a vector

FAILURES: Final = (TransportError, ResponseError, ProtocolError)


class Embedder(Protocol):
    """Makes vectors of texts: those of texts that mean the same are close to each other.

    Attributes:
        label: Which model it is. Vectors are compared only with vectors of the same label.
    """

    label: str

    def opened(self) -> AbstractAsyncContextManager[None]:
        """A context in which vectors can be made."""
        ...

    async def embed(self, texts: Sequence[str], *, are_queries: bool = False) -> "NDArray[np.float32]":
        """Make a vector of length 1 of each text, as the rows of a matrix.

        Args:
            texts: At least one.
            are_queries: Whether something is searched for with them. Many models make other vectors of queries.

        Raises:
            BackendError: There are no vectors.
        """
        ...


class EmbeddingsEndpoint:
    """An embedding model behind an HTTP endpoint."""

    def __init__(
        self,
        base_url: str,
        api_key: ApiKey | None = None,
        *,
        model: str,
        dimensions: int | None = None,
        query_prefix: str = "",
        text_prefix: str = "",
        batch_size: int = 64,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        max_retries: int = 4,
    ) -> None:
        """Configure the endpoint; `LocalFileSearch` opens it.

        Args:
            base_url: What comes before ``/embeddings``, such as ``https://api.openai.com/v1``.
            api_key: The bearer token, or an async callable that returns a fresh one. ``None``: none is sent.
            model: The model's name at the endpoint.
            dimensions: How many numbers a vector has, for models that can make shorter ones.
            query_prefix: What the model wants before a query, such as ``query: ``.
            text_prefix: What the model wants before a text that may be found, such as ``passage: ``.
            batch_size: How many texts are sent at once.
            headers: Sent with each request.
            timeout: Seconds without a byte of the response, after which a request has failed.
            max_retries: How often a request is repeated.

        Raises:
            ValueError: ``base_url`` is not a URL, a header is invalid, or a number is too small.
        """
        check_count("batch_size", batch_size, least=1)
        check_count("max_retries", max_retries, least=0)
        check_seconds("timeout", timeout)
        if dimensions is not None:
            check_count("dimensions", dimensions, least=1)
        self._transport = Transport(
            base_url,
            api_key,
            headers=headers or {},
            query={},
            timeout=timeout,
            max_retries=max_retries,
            max_connections=0,
        )
        self._model, self._dimensions, self._batch_size = model, dimensions, batch_size
        self._query_prefix, self._text_prefix = query_prefix, text_prefix
        self.label: str = f"{model}, {text_prefix!r}" + (f", {dimensions}" if dimensions else "")

    def __repr__(self) -> str:
        return f"<EmbeddingsEndpoint {self._model!r} at {self._transport.base_url}>"

    def opened(self) -> AbstractAsyncContextManager[None]:
        """A context in which requests can be sent."""
        return self._transport.opened()

    async def embed(self, texts: Sequence[str], *, are_queries: bool = False) -> "NDArray[np.float32]":
        """Make a vector of length 1 of each text, as the rows of a matrix.

        Raises:
            BackendError: The endpoint has refused, cannot be reached, or sends something else than vectors.
        """
        prefix = self._query_prefix if are_queries else self._text_prefix
        rows: list[Any] = []
        try:
            for first in range(0, len(texts), self._batch_size):
                batch = [prefix + text for text in texts[first : first + self._batch_size]]
                rows.append(_unit(_vectors(await self._request(batch), len(batch))))
            return np.concatenate(rows)
        except FAILURES as error:
            reason = self._backend_error(error)
            _logger.warning("%r gave no vectors: %s: %s", self, reason.code, error)
            raise reason from error
        except ValueError as error:
            raise BackendError(
                "server_error", f"the embedding model's endpoint sent no usable vectors: {error}"
            ) from None

    async def _request(self, batch: Sequence[str]) -> Mapping[str, Any]:
        body: dict[str, Any] = {"model": self._model, "input": batch}
        if self._dimensions is not None:
            body["dimensions"] = self._dimensions
        # It changes nothing, so it may always be repeated.
        return await self._transport.request("POST", self._transport.url("/embeddings"), dict[str, Any], body=body)

    def _backend_error(self, error: TransportError | ResponseError | ProtocolError) -> BackendError:
        """For the owner of a file or a run, who need not know where the endpoint is."""
        status = error.status if isinstance(error, ResponseError) else None
        told = outward(error, self._transport.base_url)
        return BackendError(
            "rate_limit_exceeded" if status == 429 else "server_error",
            f"the request to the embedding model's endpoint failed: {told}",
        )


def _vectors(response: Mapping[str, Any], count: int) -> "NDArray[np.float32]":
    """The vectors in the order of the texts."""
    data = response.get("data")
    if not isinstance(data, list) or len(data) != count:
        raise ValueError(f"{count} were asked for")
    found: list[Any] = [None] * count
    for place, item in enumerate(data):
        index = item.get("index", place) if isinstance(item, dict) else None
        if not isinstance(index, int) or not 0 <= index < count or not isinstance(item.get("embedding"), list):
            raise ValueError("they are not numbered arrays")
        found[index] = item["embedding"]
    try:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused below
            matrix = np.array(found, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("they are not arrays of numbers, all of one length") from None
    if matrix.ndim != 2 or not 0 < matrix.shape[1] <= _LARGEST or not np.isfinite(matrix).all():
        raise ValueError("they are not arrays of finite numbers, all of one length")
    return matrix


def _unit(matrix: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """Each row with the length 1; a row of zeros, which says nothing, stays."""
    lengths: NDArray[np.float32] = np.linalg.norm(matrix, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    return matrix / lengths
