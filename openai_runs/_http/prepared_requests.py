"""`PreparedRequests`: makes requests from a head that is the same for all of a session.

aiohttp builds, checks and writes all headers of each request, and sends a body in a task of its own. Here the head is
made once, from aiohttp's own, and a request with a small body is one piece. aiohttp's connections send it, and aiohttp
reads the response. What is not usual goes aiohttp's own way, such as uploads, streams, proxies and whatever is traced.

How aiohttp makes a request is not documented in all parts. So `prepared_requests` looks whether both ways send the
same, when a session is opened; if they do not, all requests go aiohttp's own way.
"""

import asyncio
import inspect
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import aiohttp
from attrs import define, field
from multidict import CIMultiDict
from yarl import URL

from openai_runs._http.watchdog import Watchdog
from openai_runs._wire.idempotency import HEADER
from openai_runs._wire.paths import PREFER

if TYPE_CHECKING:
    from aiohttp.connector import Connection

T = TypeVar("T")

_METHODS: Final = frozenset({"GET", "POST", "DELETE"})
#: Bytes of a body that is sent in one piece; a connection takes more without a pause.
_SMALL: Final = 32 * 1024
#: Headers that a request may have beside those of its session.
_OWN: Final = CIMultiDict({"Authorization": "", HEADER: "", PREFER: ""})
#: Headers of a session that say where a message ends, or where it goes: how they are treated is for aiohttp to say.
_NOT_FOR_ALL: Final = frozenset(
    {"connection", "content-encoding", "content-length", "cookie", "expect", "host", "transfer-encoding", "upgrade"}
)
_VERSION: Final = aiohttp.HttpVersion11
#: The writer of the body, which later versions of aiohttp ask how much was sent; here nobody does.
_WRITER: Final[dict[str, Any]] = (
    {"stream_writer": SimpleNamespace(output_size=0)}
    if "stream_writer" in inspect.signature(aiohttp.ClientResponse).parameters
    else {}
)


class PreparedRequest(aiohttp.ClientRequest):
    """A request whose bytes are there already. `PreparedRequests` makes it, without aiohttp's ``__init__``."""

    # What that would set, where it is the same for all.
    version = _VERSION
    chunked = compress = length = None
    proxy = proxy_auth = proxy_headers = server_hostname = None
    _ssl = True
    written: bytes  #: head and body
    watchdog: Watchdog  #: that of its session

    async def send(self, conn: "Connection") -> aiohttp.ClientResponse:
        """Write it; the response, which has yet to come."""
        protocol = conn.protocol
        if protocol is None or (transport := protocol.transport) is None or transport.is_closing():
            raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")
        transport.write(self.written)
        self.watchdog.watch(conn, protocol)
        return self.response_class(
            self.method,
            self.url,
            writer=None,
            continue100=None,
            timer=self._timer,
            request_info=self.request_info,
            traces=self._traces,
            loop=self.loop,
            session=self._session,
            **_WRITER,
        )


@define(repr=False)
class PreparedRequests:
    """Makes the requests of a session."""

    _session_headers: CIMultiDict[str]
    _watchdog: Watchdog
    _scheme: str
    _host: str | None
    _headers: CIMultiDict[str] = field(init=False)  # all that aiohttp sends for all of them
    _lines: str = field(init=False)  # the same, as they are written

    def __attrs_post_init__(self) -> None:
        url = URL(f"{self._scheme}://{self._host}")
        self._headers = aiohttp.ClientRequest("GET", url, headers=self._session_headers).headers
        self._lines = "".join(f"{name}: {value}\r\n" for name, value in self._headers.items())

    def make(
        self,
        method: str,
        url: URL,
        *,
        params: Any,
        headers: CIMultiDict[str],
        skip_auto_headers: Any,
        data: Any,
        cookies: Any,
        auth: Any,
        version: aiohttp.HttpVersion,
        compress: Any,
        chunked: Any,
        expect100: bool,
        loop: asyncio.AbstractEventLoop,
        response_class: type[aiohttp.ClientResponse],
        proxy: Any,
        proxy_auth: Any,
        timer: Any,
        session: Any,
        ssl: Any,
        server_hostname: Any,
        proxy_headers: Any,
        traces: list[Any],
        trust_env: bool,
    ) -> aiohttp.ClientRequest:
        """Make a request as aiohttp's session asks for it, with the headers that it has beside those of the session."""
        # All names are spelled out: Python takes as long for a dict of the rest as for all of this.
        is_odd = params or skip_auto_headers or cookies or auth or compress or chunked or expect100 or proxy or traces
        is_odd = is_odd or version is not _VERSION or ssl is not True or server_hostname
        if not is_odd and (written := self._written(method, url, headers, data)) is not None:
            request = PreparedRequest.__new__(PreparedRequest)
            request.method = method
            request.url = request.original_url = url
            request.headers = self._headers_with(headers) if headers else self._headers
            request.loop = loop
            request.response_class = response_class
            request._timer = timer  # noqa: SLF001  # its own
            request._session = session  # noqa: SLF001
            request._traces = traces  # noqa: SLF001
            request.written = written
            request.watchdog = self._watchdog
            return request
        return aiohttp.ClientRequest(
            method,
            url,
            params=params,
            headers=self._merged(headers),
            skip_auto_headers=skip_auto_headers,
            data=data,
            cookies=cookies,
            auth=auth,
            version=version,
            compress=compress,
            chunked=chunked,
            expect100=expect100,
            loop=loop,
            response_class=response_class,
            proxy=proxy,
            proxy_auth=proxy_auth,
            timer=timer,
            session=session,
            ssl=ssl,
            server_hostname=server_hostname,
            proxy_headers=proxy_headers,
            traces=traces,
            trust_env=trust_env,
        )

    def _written(self, method: str, url: URL, headers: CIMultiDict[str], data: Any) -> bytes | None:
        """All bytes of a request; ``None`` if something about it is not usual."""
        target, lines = url.raw_path_qs, self._lines
        if method not in _METHODS or url.host_port_subcomponent != self._host or url.scheme != self._scheme:
            return None
        # Nothing that could end a line gets into one.
        if not (target.isascii() and target.isprintable()) or " " in target:
            return None
        if headers:
            for name, value in headers.items():
                if name not in _OWN or name in self._headers or not (value.isascii() and value.isprintable()):
                    return None
                lines += f"{name}: {value}\r\n"
        if data is None:
            length = "" if method == "GET" else "Content-Length: 0\r\n"
            return f"{method} {target} HTTP/1.1\r\n{lines}{length}\r\n".encode()
        if data.__class__ is not bytes or method != "POST" or len(data) > _SMALL:
            return None
        return f"POST {target} HTTP/1.1\r\n{lines}Content-Length: {len(data)}\r\n\r\n".encode() + data

    def _headers_with(self, headers: CIMultiDict[str]) -> CIMultiDict[str]:
        together = self._headers.copy()
        together.update(headers)
        return together

    def _merged(self, headers: CIMultiDict[str]) -> CIMultiDict[str]:
        """What aiohttp is given: the headers of the session, unless the request has others."""
        merged = self._session_headers.copy()
        merged.update(headers)
        return merged

    def are_like_others(self) -> bool:
        """Whether aiohttp itself would send the same, to the same place."""
        common: dict[str, Any] = dict.fromkeys(inspect.signature(aiohttp.ClientRequest).parameters)
        del common["method"], common["url"]
        common |= {"version": _VERSION, "ssl": True, "expect100": False, "trust_env": False, "traces": []}
        common |= {"loop": asyncio.get_running_loop(), "response_class": aiohttp.ClientResponse}
        url = URL(f"{self._scheme}://{self._host}/a?b=c")
        for method, data in ("GET", None), ("DELETE", None), ("POST", None), ("POST", b"{}"):
            own = CIMultiDict({HEADER: "key"} if method == "POST" else {})
            common |= {"data": data, "headers": own}
            mine = self.make(method, url, **common)
            common["headers"] = self._merged(own)
            others = aiohttp.ClientRequest(method, url, **common)
            if not isinstance(mine, PreparedRequest) or mine.connection_key != others.connection_key:
                return False
            lines = [f"{method} /a?b=c HTTP/1.1", *(f"{name}: {value}" for name, value in others.headers.items())]
            head, _, body = mine.written.partition(b"\r\n\r\n")
            if sorted(head.decode().split("\r\n")) != sorted(lines) or body != (data or b""):
                return False
            if data is None and _sent(mine) != _sent(others):  # with one, aiohttp needs a task
                return False
        return True


def prepared_requests(base: URL, headers: CIMultiDict[str], watchdog: Watchdog) -> PreparedRequests | None:
    """Make the requests of a session, unless aiohttp has to.

    Args:
        base: Where they go.
        headers: Sent with each request.
        watchdog: Watches over them.
    """
    if any(name.lower() in _NOT_FOR_ALL for name in headers):
        return None
    try:
        requests = PreparedRequests(headers, watchdog, base.scheme, base.host_port_subcomponent)
        return requests if requests.are_like_others() else None
    except Exception:  # whatever a later aiohttp has changed: without this it works as well, but slower
        return None


def _sent(request: aiohttp.ClientRequest) -> tuple[list[bytes], type, str, URL]:
    """The lines that a request without a body sends, in the order of the alphabet, and what its response has of it."""
    written: list[bytes] = []
    transport = SimpleNamespace(write=written.append, is_closing=lambda: False)
    protocol = SimpleNamespace(transport=transport, writing_paused=False, start_timeout=lambda: None, read_timeout=None)
    connection: Any = SimpleNamespace(protocol=protocol, _connector=SimpleNamespace(force_close=False))
    response = _at_once(request.send(connection))
    return sorted(b"".join(written).split(b"\r\n")), type(response), response.method, response.url


def _at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    coroutine.close()
    raise RuntimeError("it waits for something")
