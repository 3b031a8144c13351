"""`RecordCache`: what it keeps, and what it drops."""

from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.thread import Thread
from openai_runs.stores.record_cache import RecordCache
from tests.stores.objects import message, run, state, thread


def test_the_least_recently_used_is_dropped_first():
    """Records are kept up to a total size."""
    cache = RecordCache(30)
    for id in "abc":
        cache.put(run(id, "t"), 10)
    assert cache.get(Run, "a") is not None
    cache.put(run("d", "t"), 10)
    assert [id for id in "abcd" if cache.get(Run, id)] == ["a", "c", "d"]
    cache.put(run("e", "t"), 25)
    assert [id for id in "acde" if cache.get(Run, id)] == ["e"]


def test_a_record_is_replaced():
    """The size of the replaced record does not count any more."""
    cache = RecordCache(30)
    for size in 10, 30, 5:
        cache.put(run("a", "t", model=str(size)), size)
    cache.put(run("b", "t"), 25)
    found = cache.get(Run, "a")
    assert found is not None
    assert found.value.model == "5"


def test_what_is_too_large_is_not_kept():
    """A record that alone is larger than the cache drops all others, and itself."""
    cache = RecordCache(30)
    cache.put(run("a", "t"), 10)
    cache.put(run("b", "t"), 31)
    assert cache.get(Run, "a") is cache.get(Run, "b") is None
    cache.put(run("c", "t"), 30)
    assert cache.get(Run, "c") is not None


def test_a_thread_goes_with_its_contents():
    """The contents of a deleted thread are dropped, other objects with its ID are not, and the space is free."""
    cache = RecordCache(50)
    for record in thread("t"), message("m", "t"), run("r", "t"), state("r", "t"), run("t", "u"):
        cache.put(record, 10)
    cache.drop(Thread, "t")
    cache.drop(Thread, "unheard-of")
    assert cache.get(Thread, "t") is cache.get(Message, "m") is cache.get(Run, "r") is None
    assert cache.get(Run, "t") is not None
    cache.put(run("new", "t"), 40)
    assert cache.get(Run, "t") is not None


def test_dropping_and_clearing():
    """A dropped record is gone, and can be put again."""
    cache = RecordCache(30)
    cache.put(run("a", "t"), 10)
    cache.drop(Run, "a")
    cache.drop(Run, "a")
    assert cache.get(Run, "a") is None
    cache.put(run("a", "t"), 30)
    cache.clear()
    assert cache.get(Run, "a") is None
    cache.put(run("a", "t"), 30)
    assert cache.get(Run, "a") is not None


def test_a_text_is_that_of_one_state():
    """An object that has changed since has another text; so has one that is equal, for all the cache knows."""
    cache = RecordCache(50)
    before, after = run("r", "t"), run("r", "t", model="other")
    cache.put(before, 10, b"before")
    assert cache.text_of(before.value) == b"before"
    assert cache.text_of(after.value) is None
    cache.put(after, 10, b"after")
    assert (cache.text_of(before.value), cache.text_of(after.value)) == (None, b"after")
    assert cache.text_of(run("s", "t").value) is None
