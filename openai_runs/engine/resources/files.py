"""The API's operations on files, on the server's side of `openai_runs.services.files`."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Final

from anyio.abc import TaskGroup
from attrs import define, field

from openai_runs._finishing import finish
from openai_runs.engine.audit import By
from openai_runs.engine.deadlines import Deadlines
from openai_runs.engine.deciding import decided
from openai_runs.engine.errors import ApiError
from openai_runs.engine.idempotency import IdempotencyKey, used_by
from openai_runs.engine.ledger import Ledger
from openai_runs.engine.new_objects import Body, new_file
from openai_runs.engine.use_elsewhere import Counted, UseElsewhere
from openai_runs.engine.vector_store_expiry import LOOK_AGAIN
from openai_runs.errors import StoreDataError
from openai_runs.models.assistant import Deleted
from openai_runs.models.file import File
from openai_runs.models.page import Page
from openai_runs.stores.file_contents import Draft, Source
from openai_runs.stores.records import Delete, PageQuery, Record
from openai_runs.stores.store import part_for

_logger = logging.getLogger("openai_runs.engine")

_SWEEP_STEP: Final = 500  # files without content that are deleted in one commit


@define(eq=False)
class Upload:
    """The content of a file that is being created; `Files.uploading` opens one."""

    owner: str
    draft: Draft
    _files: "Files"
    room: int | None = None  #: how many bytes the owner's files may have together
    is_kept: bool = field(default=False, init=False)

    async def write(self, piece: bytes) -> None:
        """Add a piece.

        Raises:
            ApiError: 413: the file is too large. 403: the owner has too many bytes of files.
            StoreUnavailableError: There is no room for it, for example.
        """
        self._files.reserve(self, len(piece))
        await self.draft.write(piece)


@define(eq=False)
class Files:
    """The files of each owner."""

    _ledger: Ledger
    max_bytes: int  #: of one file
    _max_owner_bytes: int | None
    _detach_everywhere: Callable[[str], Awaitable[None]]  # takes a file out of all vector stores
    _elsewhere: UseElsewhere
    #: How many bytes an owner's files may have together, beside what else it has; see `Guard`.
    room: Callable[[str], Awaitable[int | None]] | None = field(default=None, init=False)
    _used: dict[str, int] = field(factory=dict, init=False)  # bytes by owner, of files and of uploads in progress
    _meanwhile: dict[str, int] = field(
        factory=dict, init=False
    )  # more of them at other servers, while they are counted
    _uploads: set[Upload] = field(factory=set, init=False)  # in progress
    _deadlines: Deadlines = field(init=False)
    _tasks: TaskGroup = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._deadlines = Deadlines(self._ledger.clock, self._on_due)

    async def start(self, tasks: TaskGroup) -> None:
        """Look through all files, delete what is left of unfinished changes, and begin to watch for expiry.

        Raises:
            StoreFileError: The contents of the files cannot be found.
        """
        self._tasks = tasks
        self._elsewhere.on(Counted.FILE_BYTES, self._hear)
        found: dict[str, tuple[str, int, datetime | None]] = {}
        lost: Sequence[str] = ()
        try:
            async for record in self._ledger.store.everything(File):
                found[record.value.id] = record.owner, record.value.bytes, record.value.expires_at
        except StoreDataError as error:  # then nobody knows which contents belong to nobody
            _logger.error("not all files can be read, so nothing is cleaned up: %s", error)  # noqa: TRY400  # it says all
        else:
            if self._ledger.sharing is None:  # others may just be keeping the content of a file that is yet to come
                lost = await self._ledger.store.contents.sweep(found)
        if lost:
            _logger.warning("%d files, such as %s, have lost their contents, and are deleted", len(lost), lost[0])
        for start in range(0, len(lost), _SWEEP_STEP):
            await self._ledger.commit([Delete(File, id) for id in lost[start : start + _SWEEP_STEP]])
        for id in lost:
            del found[id]
        for id, (owner, size, expires_at) in found.items():
            self._used[owner] = self._used.get(owner, 0) + size
            self._watch(id, expires_at)
        tasks.start_soon(self._deadlines.run)
        if self._ledger.sharing is not None:
            tasks.start_soon(self._look_again)

    async def _look_again(self) -> None:
        """Watch the files of other servers, too, and count anew: nobody tells what a server has left that died."""
        while True:
            await self._ledger.clock.sleep_until(self._ledger.clock.now() + LOOK_AGAIN)
            try:
                await self._ledger.retry_until_stored(self._count)
            except StoreDataError as error:
                text = "not all files can be read, so what owners have is not counted anew: %s"
                _logger.error(text, error)  # noqa: TRY400  # it says all

    async def _count(self) -> None:
        used: dict[str, int] = {}
        self._meanwhile = used
        async for record in self._ledger.store.everything(File):
            used[record.owner] = used.get(record.owner, 0) + record.value.bytes
            self._watch(record.value.id, record.value.expires_at)
        for upload in self._uploads:
            if not upload.is_kept:
                used[upload.owner] = used.get(upload.owner, 0) + upload.draft.size
        self._used, self._meanwhile = used, {}

    @asynccontextmanager
    async def uploading(self, owner: str) -> AsyncGenerator[Upload]:
        """Begin to receive a content. At the end it is deleted, unless a file was created with it."""
        room = None if self.room is None else await self.room(owner)
        async with self._ledger.store.contents.drafting() as draft:
            upload = Upload(owner, draft, self, room)
            self._uploads.add(upload)
            try:
                yield upload
            finally:
                self._uploads.discard(upload)
                if not upload.is_kept:
                    self._add(owner, -draft.size)

    def reserve(self, upload: Upload, size: int) -> None:
        """Count more bytes of an upload, before they are written.

        Raises:
            ApiError: 413: the file is too large. 403: the owner has too many bytes of files.
        """
        if upload.draft.size + size > self.max_bytes:
            raise self.too_large()
        used = self._used.get(upload.owner, 0) + size
        if self._max_owner_bytes is not None and used > self._max_owner_bytes:
            text = (
                f"Your files would have more than {self._max_owner_bytes} bytes together, the limit. Delete some first."
            )
            raise ApiError(403, text, param="file", code="storage_quota_exceeded")
        if upload.room is not None and used > upload.room:
            raise ApiError(
                403,
                f"There is room for {upload.room} bytes of files beside your threads and messages, which is the limit "
                "for all of them together. Delete some first.",
                param="file",
                code="storage_quota_exceeded",
            )
        self._add(upload.owner, size)

    def used(self, owner: str) -> int:
        """How many bytes the files of an owner have, those among them that are being uploaded."""
        return self._used.get(owner, 0)

    def too_large(self) -> ApiError:
        """The error for a file of more than `max_bytes`."""
        return ApiError(413, f"File is too large: at most {self.max_bytes} bytes are accepted.", param="file")

    async def create(
        self, owner: str, body: Body, filename: str, upload: Upload, *, key: IdempotencyKey | None = None
    ) -> File:
        """Operation ``createFile``, once its content is there."""
        now = self._ledger.clock.now()
        file = new_file(body, filename, upload.draft.size, now)
        await finish(self._create(Record(owner, file), upload, key, now))
        return file

    async def _create(self, record: Record[File], upload: Upload, key: IdempotencyKey | None, now: float) -> None:
        """Keep the content, and then the file, so that no file is without one."""
        file = record.value
        await upload.draft.keep(file.id)
        try:
            await self._ledger.commit([record, *used_by(key, record.owner, file, now)])
        except BaseException:
            await self._ledger.store.contents.delete(file.id)
            raise
        upload.is_kept = True
        self._watch(file.id, file.expires_at)

    async def retrieve(self, owner: str, file_id: str) -> File:
        """Operation ``retrieveFile``."""
        return await self.find(owner, file_id)

    async def list(self, owner: str, query: PageQuery, purpose: str | None = None) -> Page[File]:
        """Operation ``listFiles``, of all files or of those for one purpose."""
        part = None if purpose is None else part_for(owner, purpose)
        return await self._ledger.page(File, owner, query, part=part)

    @decided
    async def delete(self, owner: str, file_id: str) -> Deleted:
        """Operation ``deleteFile``: it is taken out of all vector stores."""
        await self.find(owner, file_id)
        if not await self._remove(file_id, By.REQUEST):  # two requests at the same time
            raise _no_such_file(file_id)
        return Deleted(id=file_id, object="file")

    async def content(self, owner: str, file_id: str) -> tuple[File, Source]:
        """Operation ``downloadFile``: the file, and where its content is."""
        file = await self.find(owner, file_id)
        try:
            return file, await self._ledger.store.contents.source(file_id)
        except LookupError:  # it was deleted a moment ago
            raise _no_such_file(file_id) from None

    async def find(self, owner: str, file_id: str) -> File:
        """Find a file of an owner that has not expired.

        Raises:
            ApiError: 404: there is none.
        """
        record = await self._ledger.store.get(File, file_id)
        if record is None or record.owner != owner or self._has_expired(record.value):
            raise _no_such_file(file_id)
        return record.value

    def _has_expired(self, file: File) -> bool:
        return file.expires_at is not None and file.expires_at.timestamp() <= self._ledger.clock.now()

    async def _remove(self, file_id: str, by: By) -> bool:
        """Delete a file, and then its content; returns whether there was one."""
        async with self._ledger.lock(file_id):
            record = await self._ledger.store.get(File, file_id)
            if record is None:
                return False
            await self._detach_everywhere(file_id)
            await self._ledger.commit([Delete(File, file_id)], then=partial(self._forget, record, by))
            await self._ledger.store.contents.delete(file_id)
        return True

    def _watch(self, file_id: str, expires_at: datetime | None) -> None:
        if expires_at is not None:
            self._deadlines.set(file_id, expires_at.timestamp())

    def _forget(self, record: Record[File], by: By) -> None:
        self._add(record.owner, -record.value.bytes)
        self._deadlines.discard(record.value.id)
        self._ledger.note_deletion(record.owner, "file", record.value.id, by)

    def _add(self, owner: str, size: int) -> None:
        self._count_more(owner, size)
        self._elsewhere.tell(Counted.FILE_BYTES, owner, size)

    def _hear(self, owner: str, since: float, size: int) -> None:  # noqa: ARG002  # they stay after the window
        self._count_more(owner, size)
        self._meanwhile[owner] = self._meanwhile.get(owner, 0) + size

    def _count_more(self, owner: str, size: int) -> None:
        left = self._used.get(owner, 0) + size
        if left > 0:
            self._used[owner] = left
        else:
            self._used.pop(owner, None)

    def _on_due(self, file_id: str) -> None:
        self._tasks.start_soon(self._expire, file_id)

    async def _expire(self, file_id: str) -> None:
        try:
            await self._ledger.retry_until_stored(partial(self._remove, file_id, By.EXPIRY))
        except Exception:  # it must not stop the engine, and nobody sees an expired file
            _logger.exception("the file %s has expired and cannot be deleted", file_id)


def _no_such_file(file_id: str) -> ApiError:
    return ApiError(404, f"No such File object: {file_id}", param="id")
