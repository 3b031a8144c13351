"""A queue in which nobody waits behind all of somebody else's work."""

from collections import OrderedDict

from attrs import define, field


@define
class FairQueue:
    """Items of several owners; owners take turns, and each one's items keep their order."""

    # Ordered dicts: taking the first key out of a plain one is slow, again and again.
    _waiting: OrderedDict[str, OrderedDict[str, None]] = field(factory=OrderedDict, init=False)
    _length: int = field(default=0, init=False)

    def __len__(self) -> int:
        return self._length

    def push(self, owner: str, item: str) -> None:
        """Add an item, which is not in it, behind the others of its owner."""
        self._waiting.setdefault(owner, OrderedDict())[item] = None
        self._length += 1

    def pop(self) -> str:
        """Take the next item of the owner whose turn it is."""
        owner, items = self._waiting.popitem(last=False)
        item, _ = items.popitem(last=False)
        self._length -= 1
        if items:
            self._waiting[owner] = items  # at the end: the others are next
        return item

    def discard(self, owner: str, item: str) -> None:
        """Take an item out, if it is there."""
        items = self._waiting.get(owner)
        if items is not None and item in items:
            del items[item]
            self._length -= 1
            if not items:
                del self._waiting[owner]
