import attrs
import pytest
from attrs import define, field, frozen, validators

from openai_runs._evolving import evolve, sharing
from openai_runs.models.page import Page
from openai_runs.models.run import Run, RunStatus
from openai_runs.stores.records import PageQuery
from tests.stores.objects import run

RUN = run("run_1", "thread_1").value


@define
class Base:
    """What follows is derived from a class, as models are."""


@define
class Counter(Base):
    name: str
    _start: int = 0
    seen: list[int] = field(factory=list, init=False)


@frozen
class Share(Base):
    size: float = field(validator=validators.le(1))


@frozen(slots=False)
class Open(Base):
    name: str


@frozen
class Doubled(Base):
    number: int

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "number", 2 * self.number)


def test_as_attrs_does_it():
    """What is not changed is the same, what the server sent beyond the known fields included."""
    before = attrs.evolve(RUN, extra={"x-region": "eu"}, absent=frozenset({"usage"}))
    after = evolve(before, status=RunStatus.COMPLETED, model="other")
    assert after == attrs.evolve(before, status=RunStatus.COMPLETED, model="other")
    assert (type(after), after.extra, after.absent) == (Run, before.extra, before.absent)
    assert before.status is RUN.status
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        after.status = RunStatus.FAILED


def test_a_generic_class():
    """A page of another type of objects is a class of its own."""
    page = Page(data=(RUN,), first_id="run_1", last_id="run_1", has_more=False)
    assert evolve(page, data=()) == Page(data=(), first_id="run_1", last_id="run_1", has_more=False)


def test_what_init_does_is_done():
    """As in `attrs.evolve`: names without underscores, what is no parameter begins anew, values are checked."""
    counter = Counter("a", start=3)
    counter.seen.append(1)
    assert evolve(counter, start=4) == Counter("a", start=4)
    with pytest.raises(ValueError, match="size"):
        evolve(Share(1), size=2)
    assert evolve(Doubled(1)).number == 4
    assert evolve(Open("a"), name="b") == Open("b")
    assert evolve(PageQuery(), limit=3) == PageQuery(limit=3)


@pytest.mark.parametrize("instance", [RUN, Counter("a")])
def test_an_unknown_field_is_refused(instance):
    with pytest.raises(TypeError, match="statsu"):
        evolve(instance, statsu=RunStatus.COMPLETED)


def test_two_snapshots_share_what_is_equal():
    """What both have is there once; what differs, be it only in its type, stays as it is."""
    words = ["Be", "kind."]
    earlier = evolve(RUN, instructions=" ".join(words), metadata={"a": "b"}, temperature=1)
    later = evolve(RUN, instructions=" ".join(words), metadata={"a": "b"}, temperature=1.0, model="other")
    assert later.instructions is not earlier.instructions
    assert sharing(later, earlier) is later
    assert later.instructions is earlier.instructions
    assert later.metadata is earlier.metadata
    assert isinstance(later.temperature, float)
    assert isinstance(earlier.temperature, int)
    assert later.model == "other"


def test_of_two_equal_snapshots_one_is_enough():
    """The earlier one is used further, and nobody needs the other one."""
    earlier, later = evolve(RUN, metadata={"a": "b"}), evolve(RUN, metadata={"a": "b"})
    assert sharing(later, earlier) is earlier
