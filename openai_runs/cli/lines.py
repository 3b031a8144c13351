"""Lines of standard input, waited for in a way that can be cancelled."""

import os
import sys
from collections.abc import AsyncGenerator
from typing import Final

import anyio

_CHUNK: Final = 2**16  # bytes


async def lines(descriptor: int | None = None) -> AsyncGenerator[str, None]:
    """Each line as it is entered, without its end; a last one need not have an end.

    Not `input` in a thread: that thread could not be stopped, and would keep the program from ending.

    Args:
        descriptor: What is read. Unset: standard input.
    """
    source = sys.stdin.fileno() if descriptor is None else descriptor
    rest = b""
    while chunk := await _read(source):
        *complete, rest = (rest + chunk).split(b"\n")
        for line in complete:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


async def _read(source: int) -> bytes:
    try:
        await anyio.wait_readable(source)
    except PermissionError:  # a file, which is always readable
        await anyio.lowlevel.checkpoint()
    return os.read(source, _CHUNK)
