"""`FileContent`: the content of a file, as bytes or piece by piece."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Final, NoReturn

import anyio
from yarl import URL

from openai_runs._http.byte_stream import ByteStream
from openai_runs._http.overrides import Overrides
from openai_runs._http.transport import Transport
from openai_runs.errors import ProtocolError, TransportError
from openai_runs.models.file import File

#: Bytes that `FileContent.read` reads at most, unless told otherwise; as large as a file can be at the hosted API.
MAX_BYTES: Final = 512 * 1024 * 1024


class FileContent(anyio.AsyncContextManagerMixin):
    """The content of a file at the endpoint, which is fetched when it is asked for.

    ``data = await session.files.content(id).read()`` has it in memory. ``async with session.files.content(id) as
    pieces``, and in it ``async for piece in pieces``, has one piece at a time, and holds a connection meanwhile.
    """

    def __init__(self, transport: Transport, url: URL, overrides: Overrides | None) -> None:
        self._transport: Final = transport
        self._url: Final = url
        self._overrides: Final = overrides

    if not TYPE_CHECKING:  # type checkers are to report it

        def __await__(self) -> NoReturn:
            raise TypeError("write `await ….content(…).read()`, or `async with ….content(…) as pieces`")

    async def read(self, *, max_bytes: int = MAX_BYTES) -> bytes:
        """Fetch all of it, again from the start if the connection breaks.

        Args:
            max_bytes: How much to read at most.

        Raises:
            NotFoundError: There is no such file.
            ProtocolError: It is larger than ``max_bytes``.
            TransportError: The connection broke, each time.
        """

        async def read_once() -> bytes:
            pieces: list[bytes] = []
            size = 0
            stream = await self._open()
            try:
                async with aclosing(_pieces(stream)) as read:
                    async for piece in read:
                        pieces.append(piece)
                        size += len(piece)
                        if size > max_bytes:
                            raise ProtocolError(
                                f"GET {self._url.path} at {self._transport.base_url}: the content has more than "
                                f"{max_bytes} bytes, the limit; read it piece by piece, or raise max_bytes",
                                paths=(f"more than {max_bytes} bytes @ $",),
                            )
            finally:
                stream.close()
            return b"".join(pieces)

        return await self._transport.repeat(read_once, self._overrides)

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Open it; the iterator raises a `TransportError` if the connection breaks before its end."""
        stream = await self._transport.repeat(self._open, self._overrides)
        try:
            async with aclosing(_pieces(stream)) as pieces:
                yield pieces
        finally:
            stream.close()

    async def _open(self) -> ByteStream:
        return await self._transport.open_content(self._url, File, overrides=self._overrides)


async def _pieces(stream: ByteStream) -> AsyncGenerator[bytes]:
    while piece := await stream.read():
        yield piece
    if stream.lost is not None:
        raise TransportError(stream.lost, maybe_done=False)
