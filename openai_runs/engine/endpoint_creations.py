"""`EndpointCreations`: requests that create something at the model's endpoint, once for each idempotency key.

An endpoint may know no such keys. So it is stored that a request is sent, before it is; and what it has created,
before the caller hears of that. If the process is killed in between, or the answer gets lost, then nobody knows whether
there was an effect, and a repetition is refused: it is never sent twice.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from attrs import define, field

from openai_runs._evolving import evolve
from openai_runs.engine.endpoint_objects import EndpointObjects
from openai_runs.engine.errors import ApiError
from openai_runs.engine.idempotency import IdempotencyKey, in_use
from openai_runs.engine.ledger import Ledger
from openai_runs.errors import KeyUsedError
from openai_runs.stores.records import Change, Delete, Record, UsedKey

_AT_ENDPOINT: Final = "endpoint "  # and the object's kind: of a `UsedKey`
_SENT: Final = "sent"  # likewise, of a request without an answer


@define(eq=False)
class EndpointCreation:
    """One request that creates something."""

    _ledger: Ledger
    _objects: EndpointObjects
    _owner: str
    _key: IdempotencyKey | None
    used: UsedKey | None = None  #: set if the request was carried out before

    def check(self, fingerprint: str) -> None:
        """Check that a repetition has the body of the first request.

        Raises:
            ApiError: 422: it has another one.
        """
        if self._key is not None and self.used is not None:
            evolve(self._key, fingerprint=fingerprint).check(self.used.fingerprint)

    async def created(self, kind: str, id: str, fingerprint: str, vector_store_id: str | None = None) -> None:
        """Store what was created, and whose it is."""
        changes: list[Change] = []
        if self._key is not None:
            used = UsedKey(
                id=self._key.id,
                fingerprint=fingerprint,
                used_at=self._ledger.clock.now(),
                kind=f"{_AT_ENDPOINT}{kind}",
                object_id=id,
            )
            changes = [Record(self._owner, used), Delete(UsedKey, _sent_id(self._key))]
        await self._objects.add(self._owner, kind, id, vector_store_id, changes)

    async def had_no_effect(self) -> None:
        """Note that the request has created nothing, and may be repeated."""
        if self._key is not None:
            await self._ledger.commit([Delete(UsedKey, _sent_id(self._key))])


@define(eq=False)
class EndpointCreations:
    """All of them."""

    _ledger: Ledger
    _objects: EndpointObjects
    _under_way: set[str] = field(factory=set, init=False)  # the keys' IDs

    @asynccontextmanager
    async def begin(self, owner: str, key: IdempotencyKey | None) -> AsyncGenerator[EndpointCreation]:
        """Begin a request, which is to be sent within, unless it is a repetition.

        Raises:
            ApiError: 409: the same request is under way, or nobody knows whether it had an effect.
        """
        if key is None:
            yield EndpointCreation(self._ledger, self._objects, owner, None)
            return
        if key.id in self._under_way:
            raise in_use()
        self._under_way.add(key.id)
        try:
            record = await self._ledger.store.get(UsedKey, key.id)
            if record is None:
                await self._note_sent(owner, key)
            yield EndpointCreation(self._ledger, self._objects, owner, key, None if record is None else record.value)
        finally:
            self._under_way.discard(key.id)

    async def _note_sent(self, owner: str, key: IdempotencyKey) -> None:
        now = self._ledger.clock.now()
        sent = UsedKey(id=_sent_id(key), fingerprint="", used_at=now, kind=f"{_AT_ENDPOINT}{_SENT}", object_id="")
        try:
            await self._ledger.commit([Record(owner, sent)])
        except KeyUsedError:
            text = (
                "A request with this idempotency key was sent to the model's endpoint, and its answer got lost: it may "
                "have created something there. Look whether it has, and use a new key to create it again."
            )
            raise ApiError(409, text, code="idempotency_key_in_doubt") from None


def _sent_id(key: IdempotencyKey) -> str:
    return f"{key.id} sent"
