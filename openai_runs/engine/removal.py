"""Deletes threads with all that is in them, in steps that nobody has to wait for."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from openai_runs.engine.audit import By
from openai_runs.engine.ledger import Ledger
from openai_runs.models.thread import Thread
from openai_runs.stores.records import Change, Delete


async def remove_thread(
    ledger: Ledger,
    owner: str,
    thread_id: str,
    *,
    by: By,
    also: Sequence[Change] = (),
    pause: Callable[[], Awaitable[None]] | None = None,
) -> bool:
    """Delete a thread. The caller holds its lock.

    What is in it goes first, and the thread last: whatever happens in between, what is left still belongs to a thread,
    and is deleted with it later.

    Args:
        ledger: Where it is deleted.
        owner: The thread's.
        thread_id: Which.
        by: On whose behalf. `By.RETENTION` leaves a thread alone that has an unfinished run in the store.
        also: What is stored when it is gone.
        pause: Called between two steps, to leave time for others.

    Returns:
        Whether it was deleted.
    """
    counts: Counter[str] = Counter()
    while some := await ledger.store.empty_some(thread_id):
        counts += some
        if pause is not None:
            await pause()
    if some is None and by is By.RETENTION:
        return False
    then = partial(ledger.note_deletion, owner, "thread", thread_id, by, counts)
    await ledger.commit([*also, Delete(Thread, thread_id)], then=then)
    return True
