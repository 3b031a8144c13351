"""A queue that serves owners in rotation, so that no owner waits for all items of another one."""

from collections import OrderedDict
from collections.abc import Callable

from attrs import define, field


def _nobody(_: str) -> bool:
    return False


@define
class FairQueue:
    """Items of several owners. Owners are served in rotation; the items of one owner keep their order.

    An owner who ``has_share`` already is passed over while another one waits.
    """

    _has_share: Callable[[str], bool] = _nobody
    # Ordered dicts: removing the first key of a plain one takes time proportional to the keys removed before.
    _waiting: OrderedDict[str, OrderedDict[str, None]] = field(factory=OrderedDict, init=False)
    _length: int = field(default=0, init=False)

    def __len__(self) -> int:
        return self._length

    def push(self, owner: str, item: str) -> None:
        """Add an item, which must not be in the queue, after the others of its owner."""
        self._waiting.setdefault(owner, OrderedDict())[item] = None
        self._length += 1

    def pop(self) -> str | None:
        """Remove and return the next item of the next owner; ``None`` if nobody may be served now."""
        if len(self._waiting) == 1:
            [owner] = self._waiting
        elif (found := next((each for each in self._waiting if not self._has_share(each)), None)) is not None:
            owner = found
        else:
            return None
        items = self._waiting.pop(owner)
        item, _ = items.popitem(last=False)
        self._length -= 1
        if items:
            self._waiting[owner] = items  # as the last owner: the other owners come first
        return item

    def discard(self, owner: str, item: str) -> None:
        """Remove an item, if it is in the queue."""
        items = self._waiting.get(owner)
        if items is not None and item in items:
            del items[item]
            self._length -= 1
            if not items:
                del self._waiting[owner]
