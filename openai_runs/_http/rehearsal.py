"""`Nowhere`: connections that lead nowhere, and show what is done with them. No I/O."""

from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import aiohttp
from attrs import define, field
from multidict import CIMultiDict, CIMultiDictProxy

T = TypeVar("T")


@define(slots=False)
class Rehearsal:
    """What a request does with its connection."""

    key: Any  #: where it was to lead
    written: bytes = b""
    reading: dict[str, Any] = field(factory=dict)  #: how the parser is told to read the response
    done: list[str] = field(factory=list)  #: what else was done

    @property
    def lines(self) -> list[bytes]:
        """What was written, in the order of the alphabet."""
        return sorted(self.written.split(b"\r\n"))

    def is_like(self, other: "Rehearsal") -> bool:
        """Whether both did the same, in whatever order."""
        mine, others = ((it.key, it.lines, it.reading, sorted(it.done)) for it in (self, other))
        return mine == others


class _Connection:
    """A connection, and its protocol and its transport as well, which responds at once.

    It has what is known to be used, and nothing else: what a later aiohttp uses beside that is an `AttributeError`.
    """

    writing_paused = upgraded = False
    read_timeout = None
    _connector = SimpleNamespace(force_close=False)

    def __init__(self, rehearsal: Rehearsal) -> None:
        self._rehearsal = rehearsal
        self.protocol = self.transport = self

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        self._rehearsal.written += data

    def set_response_params(self, **given: Any) -> None:
        self._rehearsal.reading |= given

    def start_timeout(self) -> None:
        self._rehearsal.done.append("start_timeout")

    async def read(self) -> tuple[SimpleNamespace, aiohttp.StreamReader]:
        self._rehearsal.done.append("read")
        nothing: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())
        head = SimpleNamespace(code=204, version=aiohttp.HttpVersion11, reason="", headers=nothing, raw_headers=())
        return head, aiohttp.EMPTY_PAYLOAD

    def release(self) -> None:
        self._rehearsal.done.append("release")


class Nowhere(aiohttp.BaseConnector):
    """Connects with nobody; `rehearsal` is what the latest request did."""

    rehearsal: Rehearsal

    async def connect(self, req: aiohttp.ClientRequest, traces: Any, timeout: aiohttp.ClientTimeout) -> Any:
        del traces, timeout
        self.rehearsal = Rehearsal(req.connection_key)
        return _Connection(self.rehearsal)


def do_at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    coroutine.close()
    raise RuntimeError("it waits for something")
