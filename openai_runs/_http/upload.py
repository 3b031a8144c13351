"""`Upload`: a file on its way out, as part of a form. It is read while it is sent, and never whole in memory."""

import io
import os
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

import aiohttp
import anyio
import anyio.to_thread
from aiohttp.abc import AbstractStreamWriter
from attrs import define, field

from openai_runs.models.file import FileSource

_PIECE: Final = 256 * 1024  # bytes
_ESCAPES: Final = {ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A"}  # as browsers write names in forms


def form_fields(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """The fields of a form: ``{"a": {"b": 1}}`` becomes ``a[b]``, as the API has it."""
    fields: dict[str, str] = {}
    for key, value in params.items():
        name = f"{prefix}[{key}]" if prefix else key
        fields |= form_fields(value, name) if isinstance(value, Mapping) else {name: str(value)}
    return fields


def filename_of(source: FileSource, filename: str | None) -> str:
    """The name under which a file is uploaded: the caller's, or its own, or ``upload``.

    Raises:
        TypeError: It is nothing that can be uploaded.
    """
    if isinstance(source, str | io.TextIOBase) or not (
        isinstance(source, bytes | os.PathLike | AsyncIterable) or hasattr(source, "read")
    ):
        raise TypeError(
            "file must be a Path, bytes, a file opened in binary mode, or an asynchronous iterable of bytes: "
            f"got {type(source).__name__}; nothing was sent"
        )
    if filename is not None:
        return filename
    name = source if isinstance(source, os.PathLike) else getattr(source, "name", None)
    return Path(name).name if isinstance(name, str | os.PathLike) else "upload"


@define(eq=False)
class Upload:
    """A form with a file, for one request and its repetitions."""

    _source: FileSource
    _filename: str
    _fields: Mapping[str, str]
    failure: Exception | None = field(default=None, init=False)  #: what reading the file raised
    _start: int | None = field(default=None, init=False)  # the place in a binary file at which it begins, if known
    _is_begun: bool = field(default=False, init=False)

    @property
    def is_spent(self) -> bool:
        """Whether it cannot be sent again: some of it was read, and cannot be read a second time."""
        if not self._is_begun or isinstance(self._source, bytes | os.PathLike):
            return False
        return self._start is None

    async def form(self, timeout: float) -> aiohttp.MultipartWriter:
        """The form, for sending it once.

        Args:
            timeout: Seconds in which the server has to take a piece of it.

        Raises:
            OSError: The file cannot be read.
        """
        size = await anyio.to_thread.run_sync(self._size)
        form = aiohttp.MultipartWriter("form-data")
        for name, value in self._fields.items():
            _append(form, aiohttp.StringPayload(value), f'name="{name.translate(_ESCAPES)}"')
        pieces = partial(self._noting_failure, size)
        name = f'name="file"; filename="{self._filename.translate(_ESCAPES)}"'
        _append(form, _Pieces(pieces, size, timeout), name)
        return form

    def _size(self) -> int | None:
        """How many bytes it has, if that is known before it is read."""
        match self._source:
            case bytes():
                return len(self._source)
            case os.PathLike():
                return Path(self._source).stat().st_size
            case AsyncIterable():
                return None
        if not self._is_begun and self._source.seekable():
            self._start = self._source.tell()
        if self._start is None:
            return None
        return self._source.seek(0, os.SEEK_END) - self._start

    async def _noting_failure(self, size: int | None) -> AsyncGenerator[bytes]:
        self._is_begun = True
        sent = 0
        try:
            async with aclosing(self._pieces()) as pieces:
                async for piece in pieces:
                    sent += len(piece)
                    if size is not None and sent > size:  # it grows: what was there at the start is sent
                        piece = piece[: size - sent]  # noqa: PLW2901  # its end is cut off
                    yield piece
            _check_complete(sent, size)
        except Exception as error:  # whatever the caller's own code raises, the caller is to get
            self.failure = error
            raise

    async def _pieces(self) -> AsyncGenerator[bytes]:
        match self._source:
            case bytes():
                for start in range(0, len(self._source), _PIECE):
                    yield self._source[start : start + _PIECE]
            case os.PathLike():
                with await anyio.to_thread.run_sync(Path(self._source).open, "rb") as file:
                    async for piece in _read(file):
                        yield piece
            case AsyncIterable():
                async for piece in self._source:
                    yield piece
            case _:
                if self._start is not None:
                    await anyio.to_thread.run_sync(self._source.seek, self._start)
                async for piece in _read(self._source):
                    yield piece


def _check_complete(sent: int, size: int | None) -> None:
    if size is not None and sent < size:
        raise ValueError(f"the file has become shorter while it was sent: {sent} bytes of {size} were left")


async def _read(file: BinaryIO) -> AsyncGenerator[bytes]:
    while piece := await anyio.to_thread.run_sync(file.read, _PIECE):
        yield piece


def _append(form: aiohttp.MultipartWriter, payload: aiohttp.Payload, name: str) -> None:
    # Not `set_content_disposition`, which escapes every character that is not ASCII, and most servers leave it so.
    payload.headers["Content-Disposition"] = f"form-data; {name}"
    form.append_payload(payload)


class _Pieces(aiohttp.Payload):
    """The pieces of a file as aiohttp's part of a form."""

    def __init__(self, pieces: Callable[[], AsyncGenerator[bytes]], size: int | None, timeout: float) -> None:
        super().__init__(pieces, content_type="application/octet-stream")
        self._size = size
        self._timeout = timeout

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002  # see aiohttp
        """Not needed for sending."""
        raise TypeError("a file that is being uploaded cannot be shown")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send it."""
        async with aclosing(self._value()) as pieces:
            async for piece in pieces:
                # aiohttp limits the silence of the server only when all is sent.
                with anyio.move_on_after(self._timeout) as scope:
                    await writer.write(piece)
                if scope.cancelled_caught:
                    raise TimeoutError(f"the server took nothing for {self._timeout} s")
