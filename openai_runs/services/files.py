"""Files: uploads for vector stores and tools, and their contents."""

from typing import TYPE_CHECKING, Never, Unpack

from openai_runs import _habits
from openai_runs._http.creation import Creation
from openai_runs._http.deletion import delete
from openai_runs._http.download import FileContent
from openai_runs._http.overrides import overrides_of, take_overrides, without_body
from openai_runs._http.pages import Listing
from openai_runs._http.transport import Transport
from openai_runs._http.upload import Upload, filename_of, form_fields
from openai_runs._wire.parameters import check_params
from openai_runs._wire.paths import FILE, FILE_CONTENT, FILES
from openai_runs._wire.signatures import spelled_out
from openai_runs.models.assistant import Deleted
from openai_runs.models.file import File, FileCreateRequest, FileListRequest, FileSource
from openai_runs.models.page import Page
from openai_runs.models.request_options import RequestOptions


@spelled_out
class FilesService:
    """``session.files``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    if not TYPE_CHECKING:  # type checkers are to report them
        __getattr__ = _habits.missing(_habits.FILES)

    async def create(
        self,
        file: FileSource,
        *_positional: Never,
        filename: str | None = None,
        idempotency_key: str | None = None,
        **params: Unpack[FileCreateRequest],
    ) -> File:
        """Upload a file; never more than once, where the endpoint honours idempotency keys.

        It is read while it is sent, in other threads, and never whole in memory.

        Args:
            file: A path, bytes, a file opened in binary mode, which is read from where it stands and stays open, or an
                asynchronous iterable of bytes. What can be read only once, such as an iterable, is sent only once:
                after a failure the request is not repeated.
            filename: The name that the file gets. Default: its own, or ``upload``.
            idempotency_key: A key of your own, 1 to 255 characters: with it, repeating the call is no second creation.
            **params: See `FileCreateParams`, of which ``purpose`` is required, and `RequestOptions`.

        Raises:
            BadRequestError: The endpoint refuses a parameter.
            ResponseError: It refuses the file, by 413 if that is too large.
            TransportError: No usable response. If ``maybe_done``, the file may exist.
            OSError: The file cannot be read. What else reading it raises is raised as it is, too.

        Source: API, operation ``createFile``.
        """
        _habits.refuse_positional(_positional, 'create(file, purpose="assistants")')
        check_params(params, FileCreateRequest)
        name = filename_of(file, filename)
        overrides, url = take_overrides(params), self._transport.url(FILES)
        fields = form_fields(params if overrides is None else overrides.merged(params))
        upload, overrides = Upload(file, name, fields), without_body(overrides)
        return await Creation(self._transport, url, File, None, idempotency_key, overrides, upload=upload).send()

    async def retrieve(self, file_id: str, **options: Unpack[RequestOptions]) -> File:
        """Fetch a file, without its content: `content` fetches that.

        Args:
            file_id: The file's ID.
            **options: See `RequestOptions`.

        Raises:
            NotFoundError: There is no such file.

        Source: API, operation ``retrieveFile``.
        """
        url = self._transport.url(FILE, file_id=file_id)
        return await self._transport.request("GET", url, File, overrides=overrides_of(options))

    def list(self, **query: Unpack[FileListRequest]) -> Listing[File]:
        """List files, newest first: iterate with ``async for``, or ``await ….page()`` for one page.

        Args:
            **query: See `FileListParams`, of which ``purpose`` leaves out all other files, and `RequestOptions`.

        Source: API, operation ``listFiles``.
        """
        check_params(query, FileListRequest)
        overrides = take_overrides(query)
        return Listing(self._transport, Page[File], FILES, {}, query, overrides=overrides)

    async def delete(self, file_id: str, **options: Unpack[RequestOptions]) -> Deleted:
        """Delete a file and its content.

        Args:
            file_id: The file's ID.
            **options: See `RequestOptions`.

        Raises:
            NotFoundError: There is no such file.

        Source: API, operation ``deleteFile``.
        """
        url = self._transport.url(FILE, file_id=file_id)
        return await delete(self._transport, url, File, Deleted(id=file_id, object="file"), overrides_of(options))

    def content(self, file_id: str, **options: Unpack[RequestOptions]) -> FileContent:
        """The content of a file: ``await ….read()`` for its bytes, or ``async with … as pieces`` for one after another.

        Args:
            file_id: The file's ID.
            **options: See `RequestOptions`.

        Returns:
            A `FileContent`, which asks the endpoint when it is read, and then raises a `NotFoundError` if there is no
            such file.

        Source: API, operation ``downloadFile``.
        """
        return FileContent(self._transport, self._transport.url(FILE_CONTENT, file_id=file_id), overrides_of(options))
