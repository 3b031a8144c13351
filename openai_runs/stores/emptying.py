"""How threads are emptied in steps, whatever the store.

A thread may have 100,000 messages, and deleting them all in one transaction would hold everybody else up for seconds.
What is said in SQL is in `sqlite.emptying` and `postgres.emptying`. In both, a thread has one unfinished run at most,
and that is its newest.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

#: Messages, and bytes of them, that one step deletes.
MESSAGES: Final = 200
MESSAGE_BYTES: Final = 2**20
#: Runs that one step deletes, each with all of its steps. An earlier one that could not be ended has a state, too.
RUNS: Final = 20
STATE: Final = "run_state"


def stepping(thread_id: str | bytes | None) -> dict[str, str | bytes | int | None]:
    """The parameters of the statements that empty a thread."""
    return {"thread_id": thread_id, "limit": MESSAGES, "bytes": MESSAGE_BYTES, "runs": RUNS}


def counted(deleted: Iterable[tuple[str, str]]) -> Counter[str]:
    """How many objects of each kind were deleted; states of runs, which nobody is shown, are left out."""
    return Counter(kind for kind, _ in deleted if kind != STATE)
