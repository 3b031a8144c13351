"""Idempotency keys: a request whose key was used before is not carried out again.

The key is committed together with what its request creates, so either both are stored or neither is. Nothing is read
before that: the store refuses a used key. So a new key, and nearly all are, costs one row and nothing else.
"""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Self, TypeAlias, TypeVar

from attrs import define, field, frozen

from openai_runs._slices import Work, in_slices
from openai_runs.engine.errors import ApiError
from openai_runs.engine.ledger import Ledger
from openai_runs.engine.new_objects import shown_assistant
from openai_runs.engine.new_vector_stores import shown_vector_store
from openai_runs.errors import KeyUsedError, StoreUnavailableError
from openai_runs.models.assistant import Assistant
from openai_runs.models.file import File
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.thread import Thread
from openai_runs.models.vector_store import VectorStore, VectorStoreFile, VectorStoreFileBatch
from openai_runs.stores.records import Delete, PageQuery, Record, UsedKey, VectorStoreEntry

_logger = logging.getLogger("openai_runs.engine")

#: Seconds for which a key is kept, at least.
LIFETIME: Final = 24 * 3600.0
#: Old keys that are deleted in one commit, so that other commits need not wait long.
_STEP: Final = 100
#: Seconds between two deletions, unless there is more to delete.
_SWEEP_INTERVAL: Final = 60.0
#: Keys that are known to be used without asking the store, so that repeating one again and again costs no commit.
_MAX_RECENT: Final = 10_000
_HASH_STEP: Final = 1024 * 1024  # bytes of a body that are hashed between two breaks

Created: TypeAlias = (
    Assistant | Thread | Message | Run | File | VectorStore | VectorStoreFileBatch | VectorStoreFile | VectorStoreEntry
)
CreatedT = TypeVar(
    "CreatedT", Assistant, Thread, Message, Run, File, VectorStore, VectorStoreFile, VectorStoreFileBatch
)

_KINDS: Final[dict[str, type[Any]]] = {
    "assistant": Assistant,
    "thread": Thread,
    "message": Message,
    "run": Run,
    "file": File,
    "vector store": VectorStore,
    "file in a vector store": VectorStoreEntry,
    "file batch": VectorStoreFileBatch,
}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}


@frozen
class IdempotencyKey:
    """The idempotency key of one request."""

    id: str  #: of its `UsedKey`
    fingerprint: str  #: of the request's body

    @classmethod
    async def of(cls, key: str, owner: str, operation: str, body: bytes) -> Self:
        """Make the key of a request; it is another one for another owner or operation."""
        # `repr` separates the parts: it escapes the quotes in them.
        id = hashlib.blake2b(repr((owner, operation, key)).encode(), digest_size=24).hexdigest()
        return cls(id, await in_slices(_hashing(body)))

    def check(self, fingerprint: str) -> None:
        """Check that the key comes with the same body again.

        Raises:
            ApiError: 422: it does not.
        """
        if self.fingerprint != fingerprint:
            text = "This idempotency key was used before, with another request body. Use a new key for a new request."
            raise ApiError(422, text, code="idempotency_key_reused")


def _hashing(body: bytes) -> Work[str]:
    fingerprint = hashlib.blake2b(digest_size=24)
    for start in range(0, len(body), _HASH_STEP):
        fingerprint.update(body[start : start + _HASH_STEP])
        yield
    return fingerprint.hexdigest()


def used_by(key: IdempotencyKey | None, owner: str, created: Created, now: float) -> Sequence[Record[UsedKey]]:
    """Make what is stored together with an object: the key of the request that creates it, if that has one."""
    if key is None:
        return ()
    used = UsedKey(
        id=key.id, fingerprint=key.fingerprint, used_at=now, kind=_NAMES[type(created)], object_id=created.id
    )
    return (Record(owner, used),)


def in_use() -> ApiError:
    """The error for a key whose request has no answer yet."""
    text = "A request with this idempotency key is under way. Repeat it a little later to get its result."
    return ApiError(409, text, code="idempotency_key_in_use")


@define
class Idempotency:
    """Carries requests with idempotency keys out once, and deletes old keys."""

    _ledger: Ledger
    #: Whether the store is asked for each key before its request is carried out, since a commit that is refused would
    #: come too late: the request does something elsewhere first.
    _looks_first: bool = False
    _under_way: dict[str, str] = field(factory=dict, init=False)  # fingerprints, by the keys' IDs
    _recent: OrderedDict[str, None] = field(factory=OrderedDict, init=False)  # IDs of used keys, the latest last

    async def once(
        self, key: IdempotencyKey, create: Callable[[IdempotencyKey], Awaitable[CreatedT]]
    ) -> tuple[CreatedT, bool]:
        """Carry out a request, unless it was carried out before. A request that was refused was not.

        Args:
            key: The request's key.
            create: Carries out the request, and commits the key with it; see `used_by`.

        Returns:
            The object that the request has created, as it is now, and whether that was just now.

        Raises:
            ApiError: 409: the same request is under way. 422: the key was used with another body. 404: the object was
                deleted. Or what ``create`` raises.
        """
        if (fingerprint := self._under_way.get(key.id)) is not None:
            key.check(fingerprint)
            raise in_use()
        self._under_way[key.id] = key.fingerprint
        try:
            if (self._looks_first or key.id in self._recent) and (found := await self._find(key)) is not None:
                return found, False
            try:
                created = await create(key)
            except (ApiError, KeyUsedError):
                # A repetition may be refused because of what the request did before, such as starting a run.
                if (found := await self._find(key)) is None:
                    raise
                return found, False
            self._remember(key)
            return created, True
        finally:
            del self._under_way[key.id]

    async def _find(self, key: IdempotencyKey) -> Any:
        """The object that the first request with a key has created; ``None`` if there was no such request."""
        store = self._ledger.store
        record = await store.get(UsedKey, key.id)
        if record is None:
            return None
        self._remember(key)
        used = record.value
        key.check(used.fingerprint)
        kind = _KINDS.get(
            used.kind
        )  # other kinds are at an endpoint: the server was told to use that, and is not any more
        found = None if kind is None else await store.get(kind, used.object_id)
        if found is None:
            text = f"The {used.kind} {used.object_id}, which the first request with this idempotency key created, "
            raise ApiError(404, f"{text}has been deleted.")
        match found.value:
            case Assistant():
                return shown_assistant(found.value)
            case VectorStore():
                return shown_vector_store(found.value, self._ledger.clock.now())
            case VectorStoreEntry():
                return found.value.file
            case _:
                return found.value

    def _remember(self, key: IdempotencyKey) -> None:
        self._recent[key.id] = None
        self._recent.move_to_end(key.id)
        if len(self._recent) > _MAX_RECENT:
            self._recent.popitem(last=False)

    async def sweep(self) -> None:
        """Delete old keys until cancelled."""
        clock = self._ledger.clock
        while True:
            try:
                until = await self._delete_some()
            except StoreUnavailableError:  # which the store has logged
                until = clock.now() + _SWEEP_INTERVAL
            except Exception:  # it must not stop the engine, and old keys do no harm
                _logger.exception("old idempotency keys cannot be deleted")
                until = clock.now() + _SWEEP_INTERVAL
            await clock.sleep_until(until)

    async def _delete_some(self) -> float:
        """Delete the oldest keys, unless they are still needed; returns when to do so again."""
        now = self._ledger.clock.now()
        records, more = await self._ledger.store.page(UsedKey, "", PageQuery(limit=_STEP, order="asc"))
        old = [record.value.id for record in records if record.value.used_at <= now - LIFETIME]
        if old:
            await self._ledger.commit([Delete(UsedKey, id) for id in old])
        if len(old) == len(records):
            return now if more else now + LIFETIME
        oldest = min(record.value.used_at for record in records if record.value.id not in old)
        return max(oldest + LIFETIME, now + _SWEEP_INTERVAL)
