"""`FairQueue`: owners take turns."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from openai_runs.engine.fair_queue import FairQueue


def drain(queue):
    taken = []
    while queue:
        taken.append(queue.pop())
    return taken


def test_owners_take_turns():
    """One owner's many items do not keep another's one waiting."""
    queue = FairQueue()
    for item in ("a1", "a2", "a3"):
        queue.push("a", item)
    queue.push("b", "b1")
    queue.push("c", "c1")
    assert drain(queue) == ["a1", "b1", "c1", "a2", "a3"]
    assert not queue


def test_discard():
    """An item that is out is not popped; one that is not in does no harm."""
    queue = FairQueue()
    queue.push("a", "a1")
    queue.push("a", "a2")
    queue.push("b", "b1")
    queue.discard("a", "a1")
    queue.discard("b", "b1")
    queue.discard("b", "b1")
    assert len(queue) == 1
    assert drain(queue) == ["a2"]


@given(st.lists(st.sampled_from("abc")))
def test_nothing_is_lost_and_order_is_kept(owners):
    """What goes in comes out, each owner's items in their order, and no owner twice while another waits."""
    queue, pushed = FairQueue(), {}
    for number, owner in enumerate(owners):
        queue.push(owner, f"{owner}{number}")
        pushed.setdefault(owner, []).append(f"{owner}{number}")
    assert len(queue) == len(owners)
    taken = drain(queue)
    assert len(queue) == 0
    for owner, items in pushed.items():
        assert [item for item in taken if item[0] == owner] == items
    for owner in pushed:
        turns = [index for index, item in enumerate(taken) if item[0] == owner]
        for here, there in pairwise(turns):
            others = [item[0] for item in taken[here + 1 : there]]
            assert len(others) == len(set(others))
