"""`Creation`: a request that creates an object, however often it has to be sent."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

from attrs import define, field
from yarl import URL

from openai_runs._http.byte_stream import ByteStream
from openai_runs._http.overrides import Overrides, further, with_key
from openai_runs._http.retries import may_be_done
from openai_runs._http.transport import Transport
from openai_runs._wire.idempotency import check_key, new_key
from openai_runs.errors import ConflictError, OpenAIRunsError
from openai_runs.models.run import Run
from openai_runs.pacing.pace import Taken, Turn
from openai_runs.pacing.sending import tell

T = TypeVar("T")
CreatedT = TypeVar("CreatedT")


def _own_or_new(key: str | None) -> str:
    if key is None:
        return new_key()
    check_key(key)
    return key


@define
class _ChargedSending:
    """Knows whether a run that was charged may have been started."""

    is_under_way: bool = field(default=False, init=False)

    async def begin(self) -> None:
        self.is_under_way = True

    def settle(self) -> None:
        self.is_under_way = False


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
    _charged: Taken | None = field(default=None, init=False)  # the turn of a run that is being created

    async def send(self) -> T:
        """Create the object."""
        created = await (self._charging(self._send) if self._is_paced else self._send())
        self.note_created(created)
        return created

    async def stream(self) -> ByteStream | T:
        """Create the object, whose events are streamed; see `Transport.stream`."""
        return await (self._charging(self._stream) if self._is_paced else self._stream())

    async def _send(self) -> T:
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

    async def _stream(self) -> ByteStream | T:
        return await self._transport.stream(
            self._url,
            self._into,
            body=self._body,
            keys=self._transport.keys,
            find=self._search,
            overrides=with_key(self._overrides, self._key),
        )

    @property
    def _is_paced(self) -> bool:
        """Whether it has to wait until the limit of tokens allows another run."""
        return self._into is Run and self._transport.turns.limits_tokens

    async def _charging(self, create: Callable[[], Awaitable[CreatedT]]) -> CreatedT:
        """Create a run, which is charged once, however often its request is sent."""
        self._charged = charged = await self._transport.turns.take(Turn.RUN)
        sending = _ChargedSending()
        try:
            with tell(sending):
                return await create()
        except BaseException as error:
            was_refused = isinstance(error, OpenAIRunsError) and not may_be_done(error)
            if was_refused or not sending.is_under_way:  # such as one that was cancelled while it waited
                self._transport.turns.give_back(charged)
            raise

    def note_created(self, created: object) -> None:
        """Note the object's first snapshot: what was charged for a run is settled when its end is seen."""
        if self._charged is not None and isinstance(created, Run):
            self._transport.turns.start_run(created, self._charged)
            self._charged = None

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
