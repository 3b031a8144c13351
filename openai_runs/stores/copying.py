"""Copies a store: all objects of all owners, what the engine keeps of runs and requests, and the contents of files.

Unlike an import, it changes nothing: unfinished runs go on where the copy is served.
"""

from collections.abc import AsyncGenerator
from typing import Any, Final

from attrs import define, field

from openai_runs.errors import StoreFileError
from openai_runs.models.file import File
from openai_runs.stores.file_contents import pieces
from openai_runs.stores.records import Record
from openai_runs.stores.table_rows import KINDS
from openai_runs.stores.table_store import TableStore

_COMMIT_SIZE: Final = 500  # objects


@define
class StoreCopy:
    """A copy from one open store to another, which has to be empty."""

    source: TableStore
    target: TableStore
    objects: int = field(default=0, init=False)  #: that were copied
    contents: int = field(default=0, init=False)  #: of files, likewise
    #: IDs of files whose content is not there. They are copied, and deleted when the copy is served, as here.
    without_content: list[str] = field(factory=list, init=False)

    async def carry_out(self) -> AsyncGenerator[int, None]:
        """Copy everything, in order of creation.

        Yields:
            How many objects were copied since the last yield.

        Raises:
            StoreFileError: The target is not empty.
            StoreDataError: An object is damaged; those before it were copied.
            StoreUnavailableError: One of the stores is away, or has no room.
        """
        if await self.target.count_objects():
            raise StoreFileError(f"cannot copy into the store {self.target.name}: it has objects; name an empty one")
        batch: list[Record[Any]] = []
        async for record in self.source.everything(*KINDS.values()):
            if isinstance(record.value, File):  # a content is kept before its file
                await self._copy_content(record.value.id)
            batch.append(record)
            if len(batch) == _COMMIT_SIZE:
                await self._commit(batch)
                yield len(batch)
                batch = []
        await self._commit(batch)
        yield len(batch)

    async def _commit(self, batch: list[Record[Any]]) -> None:
        await self.target.commit(batch)
        self.objects += len(batch)

    async def _copy_content(self, id: str) -> None:
        try:
            source = await self.source.contents.source(id)
        except LookupError:
            self.without_content.append(id)
            return
        async with self.target.contents.drafting() as draft:
            async for piece in pieces(source):
                await draft.write(piece)
            await draft.keep(id)
        self.contents += 1
