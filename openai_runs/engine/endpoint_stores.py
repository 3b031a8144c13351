"""`EndpointStores`: makes the vector stores at the model's endpoint that threads and assistants ask for by the way."""

from collections.abc import Sequence
from typing import Final

from attrs import define

from openai_runs._finishing import finish
from openai_runs._wire.paths import VECTOR_STORE_BATCHES, VECTOR_STORES
from openai_runs.engine.endpoint_objects import FILE, STORE, EndpointObjects
from openai_runs.engine.errors import ApiError
from openai_runs.engine.new_objects import Body
from openai_runs.engine.thread_stores import MadeStore

_MOST: Final = 500  # files that a new vector store, or a batch, may have


@define
class EndpointStores:
    """See `StoreMaker`."""

    _objects: EndpointObjects

    async def make(self, owner: str, spec: Body, attached: Sequence[str]) -> MadeStore:
        """Make a vector store. It is stored at once whose it is, since it exists, whatever becomes of its thread."""
        ids = list(dict.fromkeys([*spec.get("file_ids", ()), *attached]))
        await self._objects.check_files(owner, {"file_ids": ids})
        return await finish(self._make(owner, spec, ids))

    async def _make(self, owner: str, spec: Body, ids: Sequence[str]) -> MadeStore:
        body = {**spec, "file_ids": ids[:_MOST]} if ids else spec
        made = await self._objects.endpoint.request("POST", VECTOR_STORES, body)
        if not isinstance(id := made.get("id"), str):
            raise ApiError(502, "The model's endpoint has made a vector store without an ID.", type="server_error")
        await self._objects.add(owner, STORE, id)
        await self._put(id, ids[_MOST:])
        if ids:
            self._objects.note_files(id)
        return MadeStore(id)

    async def put(self, owner: str, vector_store_id: str, file_ids: Sequence[str]) -> None:
        """Put files into a vector store."""
        await self._objects.check(owner, STORE, vector_store_id)
        await finish(self._put(vector_store_id, file_ids))

    async def _put(self, vector_store_id: str, file_ids: Sequence[str]) -> None:
        for start in range(0, len(file_ids), _MOST):
            body = {"file_ids": list(file_ids[start : start + _MOST])}
            await self._objects.endpoint.request("POST", VECTOR_STORE_BATCHES, body, vector_store_id=vector_store_id)
            self._objects.note_files(vector_store_id)

    async def has(self, owner: str, file_id: str) -> bool:
        """Whether there is such a file; the endpoint itself says so, later.

        Raises:
            ApiError: 404: it is somebody else's.
        """
        await self._objects.check(owner, FILE, file_id)
        return True
