"""Makes vector stores and what is in them from request bodies, and counts. No I/O."""

import operator
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from openai_runs._evolving import evolve
from openai_runs.engine.errors import ApiError
from openai_runs.engine.ids import new_id
from openai_runs.engine.new_objects import ALL_SHOWN, Body, timestamp
from openai_runs.file_search.chunking import Chunking
from openai_runs.models.vector_store import (
    ChunkingShown,
    FileCounts,
    StaticChunkingShown,
    StaticChunkingStrategy,
    VectorStore,
    VectorStoreExpiration,
    VectorStoreFile,
    VectorStoreFileBatch,
    VectorStoreFileError,
    VectorStoreFileStatus,
    VectorStoreStatus,
)

# Fields that the API's schema lacks, or that may not be null there.
_STORE_HIDDEN_IF_NONE: Final = frozenset({"description", "expires_after"})
_FILE_HIDDEN_IF_NONE: Final = frozenset({"chunking_strategy"})
_DEFAULT: Final = Chunking()
#: After how long a use of a vector store counts as another one: each would cost a commit.
_USE_STEP: Final = timedelta(minutes=1)
#: Days without use after which a vector store expires that a thread has made; the API's default.
THREAD_STORE_DAYS: Final = 7


def new_vector_store(body: Body, now: float) -> VectorStore:
    """Make an empty vector store."""
    created_at = timestamp(now)
    expiration = body.get("expires_after")
    store = VectorStore(
        id=new_id("vs"),
        created_at=created_at,
        name=body.get("name"),
        description=body.get("description"),
        usage_bytes=0,
        file_counts=FileCounts(),
        status=VectorStoreStatus.COMPLETED,
        expires_after=None if expiration is None else _expiration(expiration["days"]),
        last_active_at=created_at,
        metadata=body.get("metadata") or {},
        absent=_STORE_HIDDEN_IF_NONE,
    )
    return with_expiry(store)


def _expiration(days: float) -> VectorStoreExpiration:
    return VectorStoreExpiration(days=int(days), absent=ALL_SHOWN)


def changed_vector_store(store: VectorStore, body: Body, now: float) -> VectorStore:
    """Apply the body of an update; the change is a use of the store, also of one that has expired."""
    if "name" in body:
        store = evolve(store, name=body["name"])
    if "metadata" in body:
        store = evolve(store, metadata=body["metadata"] or {})
    if "expires_after" in body:
        expiration = body["expires_after"]
        store = evolve(store, expires_after=None if expiration is None else _expiration(expiration["days"]))
    used_now = evolve(
        store,
        status=VectorStoreStatus.COMPLETED,
        last_active_at=timestamp(now),
        absent=(store.absent or frozenset())
        | _STORE_HIDDEN_IF_NONE,  # one that was read from a store does not know what it had
    )
    return with_expiry(used_now)


def with_expiry(store: VectorStore) -> VectorStore:
    """Set when a vector store expires, by its last use."""
    after, last = store.expires_after, store.last_active_at
    return evolve(store, expires_at=None if after is None or last is None else last + timedelta(days=after.days))


def used(store: VectorStore, now: float) -> VectorStore | None:
    """The store after a use; ``None`` if it was used a moment ago."""
    last, at = store.last_active_at, timestamp(now)
    return None if last is not None and at - last < _USE_STEP else with_expiry(evolve(store, last_active_at=at))


def has_expired(store: VectorStore, now: float) -> bool:
    """Whether a vector store cannot be used any more."""
    is_past = store.expires_at is not None and store.expires_at.timestamp() <= now
    return is_past or store.status is VectorStoreStatus.EXPIRED


def shown_vector_store(store: VectorStore, now: float) -> VectorStore:
    """A vector store for a response, with its status, which follows from the clock and the files in it."""
    if has_expired(store, now):
        status = VectorStoreStatus.EXPIRED
    elif store.file_counts.in_progress:
        status = VectorStoreStatus.IN_PROGRESS
    else:
        status = VectorStoreStatus.COMPLETED
    return evolve(store, status=status, name=store.name or "")  # the API's schema has no null here


def chunking_of(body: Body | None) -> Chunking:
    """How a request wants files to be cut.

    Raises:
        ApiError: 400: the overlap is more than half a passage, or negative.
    """
    if body is None or body["type"] != "static":
        return _DEFAULT
    size, overlap = int(body["static"]["max_chunk_size_tokens"]), int(body["static"]["chunk_overlap_tokens"])
    if not 0 <= overlap <= size // 2:
        name = "chunking_strategy.static.chunk_overlap_tokens"
        text = f"Invalid '{name}': expected 0 to {size // 2}, half of 'max_chunk_size_tokens', but got {overlap}."
        raise ApiError(400, text, param=name, code="invalid_value")
    return Chunking(size, overlap)


def shown_chunking(chunking: Chunking) -> ChunkingShown:
    """The same in a response, where the default has its sizes, too."""
    sizes = StaticChunkingStrategy(max_chunk_size_tokens=chunking.max_tokens, chunk_overlap_tokens=chunking.overlap)
    return StaticChunkingShown(static=sizes)


def chunking_again(shown: ChunkingShown | None) -> Chunking:
    """The same of what was shown."""
    match shown:
        case StaticChunkingShown(static=sizes):
            return Chunking(sizes.max_chunk_size_tokens, sizes.chunk_overlap_tokens)
        case _:
            return _DEFAULT


def new_file_entry(
    vector_store_id: str, file_id: str, chunking: Chunking, attributes: Mapping[str, Any] | None, now: float
) -> VectorStoreFile:
    """Make a file in a vector store, which is yet to be processed."""
    return VectorStoreFile(
        id=file_id,
        created_at=timestamp(now),
        vector_store_id=vector_store_id,
        usage_bytes=0,
        status=VectorStoreFileStatus.IN_PROGRESS,
        chunking_strategy=shown_chunking(chunking),
        attributes=attributes or {},
        absent=_FILE_HIDDEN_IF_NONE,
    )


def ended_file(
    file: VectorStoreFile,
    status: VectorStoreFileStatus,
    *,
    usage_bytes: int = 0,
    error: VectorStoreFileError | None = None,
) -> VectorStoreFile:
    """The file once it has been processed, or is not going to be."""
    return evolve(file, status=status, usage_bytes=usage_bytes, last_error=error)


def new_batch(vector_store_id: str, now: float) -> VectorStoreFileBatch:
    """Make a batch without files."""
    return VectorStoreFileBatch(
        id=new_id("vsfb"),
        created_at=timestamp(now),
        vector_store_id=vector_store_id,
        status=VectorStoreFileStatus.IN_PROGRESS,
        file_counts=FileCounts(),
        absent=ALL_SHOWN,
    )


def recounted(counts: FileCounts, before: str | None, after: str | None) -> FileCounts:
    """Count one file with another status; no status before: it is new, and none after: it is gone."""
    change: dict[str, Any] = {"total": counts.total + (before is None) - (after is None)}
    for status, by in ((before, -1), (after, 1)):
        if status is not None:
            change[status] = change.get(status, getattr(counts, status)) + by
    return evolve(counts, **change)


def counted_batch(batch: VectorStoreFileBatch, before: str | None, after: str) -> VectorStoreFileBatch:
    """The batch with one file counted, and with the status that follows."""
    counts = recounted(batch.file_counts, before, after)
    return evolve(batch, status=_status(batch, counts), file_counts=counts)


def _status(batch: VectorStoreFileBatch, counts: FileCounts) -> VectorStoreFileStatus:
    if batch.status is VectorStoreFileStatus.CANCELLED:
        return batch.status
    if counts.in_progress:
        return VectorStoreFileStatus.IN_PROGRESS
    return VectorStoreFileStatus.FAILED if counts.failed == counts.total else VectorStoreFileStatus.COMPLETED


_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def matches(attributes: Mapping[str, Any], condition: Body) -> bool:
    """Whether the attributes of a file meet a filter. One that the file does not have meets only ``ne`` and ``nin``."""
    kind: str = condition["type"]
    if kind in ("and", "or"):
        found = (matches(attributes, each) for each in condition["filters"])
        return all(found) if kind == "and" else any(found)
    key: str = condition["key"]
    wanted: Any = condition["value"]
    if key not in attributes:
        return kind in ("ne", "nin")
    value = attributes[key]
    match kind:
        case "eq":
            return _equal(value, wanted)
        case "ne":
            return not _equal(value, wanted)
        case "in" | "nin":
            among = wanted if isinstance(wanted, list) else [wanted]
            return any(_equal(value, each) for each in among) == (kind == "in")
        case _:
            if isinstance(value, str) != isinstance(wanted, str) or isinstance(wanted, list):
                return False
            return _COMPARISONS[kind](value, wanted)


def _equal(value: object, wanted: object) -> bool:
    """Whether two values are equal; to Python, ``True`` would be 1."""
    return isinstance(value, bool) is isinstance(wanted, bool) and bool(value == wanted)
