"""`Creation`: a request that creates an object, however often it has to be sent."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

from attrs import define, field
from yarl import URL

from openai_runs._http.byte_stream import ByteStream
from openai_runs._http.overrides import Overrides, further, with_key
from openai_runs._http.transport import Transport
from openai_runs._wire.idempotency import check_key, new_key
from openai_runs.errors import ConflictError

T = TypeVar("T")


def _own_or_new(key: str | None) -> str:
    if key is None:
        return new_key()
    check_key(key)
    return key


@define
class Creation(Generic[T]):
    """A request that creates an object, with an idempotency key.

    After a lost response, an endpoint that honours the key is sent the same request again. At another one, the object
    is searched for, if there is a way to recognize it.
    """

    _transport: Transport
    _url: URL
    _into: type[T]
    _body: Mapping[str, Any]
    _key: str = field(converter=_own_or_new)
    _overrides: Overrides | None = None
    _search: Callable[[], Awaitable[T | None]] | None = field(default=None, kw_only=True)

    async def send(self) -> T:
        """Create the object."""
        return await self._transport.request(
            "POST",
            self._url,
            self._into,
            body=self._body,
            repeatable=False,
            keys=self._transport.keys,
            find=self._search,
            overrides=with_key(self._overrides, self._key),
        )

    async def stream(self) -> ByteStream | T:
        """Create the object, whose events are streamed; see `Transport.stream`."""
        return await self._transport.stream(
            self._url,
            self._into,
            body=self._body,
            keys=self._transport.keys,
            find=self._search,
            overrides=with_key(self._overrides, self._key),
        )

    @property
    def can_find(self) -> bool:
        """Whether `find` has a way to find the object, as far as is known."""
        return self._search is not None or self._transport.keys.honoured is not False

    async def find(self) -> T | None:
        """The object, if its creation was streamed and its ID did not arrive.

        Where keys are honoured, this sends the request again. If it never arrived, it is carried out now: nobody can
        know whether it is still on its way.
        """
        keys = self._transport.keys
        if keys.honoured is None and self._search is None:
            await keys.ask(further(self._overrides))
        if not keys.honoured:
            return None if self._search is None else await self._search()
        try:
            while isinstance(found := await self._send_again(), ByteStream):
                found.close()
        except ConflictError:  # it is under way
            return None
        return found

    async def _send_again(self) -> ByteStream | T:
        overrides = with_key(self._overrides, self._key)
        return await self._transport.open(self._url, self._into, body=self._body, overrides=overrides)
