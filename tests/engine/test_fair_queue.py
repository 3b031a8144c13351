"""`FairQueue`: owners are served in rotation."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from openai_runs.engine.fair_queue import FairQueue


def drain(queue):
    taken = []
    while queue:
        taken.append(queue.pop())
    return taken


def test_owners_are_served_in_rotation():
    """One owner's many items do not delay another owner's single item."""
    queue = FairQueue()
    for item in ("a1", "a2", "a3"):
        queue.push("a", item)
    queue.push("b", "b1")
    queue.push("c", "c1")
    assert drain(queue) == ["a1", "b1", "c1", "a2", "a3"]
    assert not queue


def test_discard():
    """A discarded item is not popped; discarding one that is not in the queue does nothing."""
    queue = FairQueue()
    queue.push("a", "a1")
    queue.push("a", "a2")
    queue.push("b", "b1")
    queue.discard("a", "a1")
    queue.discard("b", "b1")
    queue.discard("b", "b1")
    assert len(queue) == 1
    assert drain(queue) == ["a2"]


def test_an_owner_with_its_share_is_passed_over():
    """While another owner waits; alone it is served. If all who wait have their share, nobody is served."""
    full = {"a"}
    queue = FairQueue(full.__contains__)
    for item in ("a1", "a2", "b1", "b2"):
        queue.push(item[0], item)
    assert [queue.pop(), queue.pop()] == ["b1", "b2"]
    assert queue.pop() == "a1"
    queue.push("b", "b3")
    full.add("b")
    assert (queue.pop(), len(queue)) == (None, 2)
    full.remove("a")
    assert drain(queue) == ["a2", "b3"]


@given(st.lists(st.sampled_from("abc")))
def test_nothing_is_lost_and_order_is_kept(owners):
    """Every item comes out, each owner's in order, and no owner is served twice while another waits."""
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
        served = [index for index, item in enumerate(taken) if item[0] == owner]
        for here, there in pairwise(served):
            others = [item[0] for item in taken[here + 1 : there]]
            assert len(others) == len(set(others))
