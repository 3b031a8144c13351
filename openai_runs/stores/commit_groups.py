"""Which commits are written together: those that wait, but of several owners only a part of each one's."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final

from attrs import define

from openai_runs.stores.table_rows import ChangedRow

#: Commits of one owner in a group, where there are several owners: those of another one wait for the group before them.
MOST_OF_AN_OWNER: Final = 16


@define(eq=False)
class Write:
    """A commit that is to be written."""

    rows: Sequence[ChangedRow]
    done: asyncio.Future[None]
    era: int
    owner: str  # see `worked_for`

    def settle(self, failure: Exception | None) -> None:
        """Let the waiting task go on, with what has become of the commit."""
        if self.done.done():  # the waiting task was cancelled
            return
        if failure is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(failure)


def next_group(waiting: list[Write]) -> tuple[list[Write], list[Write]]:
    """The commits that are written next, and those that wait on: what is beyond an owner's part of a group.

    One without changes, for which a server waits that hands its runs over, comes after all that were begun before it.
    """
    if len(waiting) <= MOST_OF_AN_OWNER:
        return waiting, []
    group: list[Write] = []
    rest: list[Write] = []
    numbers: Counter[str] = Counter()
    for write in waiting:
        numbers[write.owner] += 1
        is_beyond = write.owner and numbers[write.owner] > MOST_OF_AN_OWNER
        (rest if is_beyond or (rest and not write.rows) else group).append(write)
    return group, rest
