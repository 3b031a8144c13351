import attrs
import pytest
from attrs import define, field

from openai_runs._evolving import evolve
from openai_runs.models.run import Run, RunStatus
from tests.stores.objects import run


@define
class Counter:
    name: str
    _start: int = 0
    seen: list[int] = field(factory=list, init=False)


def test_as_attrs_does_it():
    """What is not changed is the same, what the server sent beyond the known fields included."""
    before = attrs.evolve(run("run_1", "thread_1").value, extra={"x-region": "eu"}, absent=frozenset({"usage"}))
    after = evolve(before, status=RunStatus.COMPLETED, model="other")
    assert after == attrs.evolve(before, status=RunStatus.COMPLETED, model="other")
    assert (type(after), after.extra, after.absent) == (Run, before.extra, before.absent)


def test_fields_have_the_names_of_parameters():
    """As in `attrs.evolve`: a private field loses its underscore, and what ``__init__`` does not take begins anew."""
    counter = Counter("a", start=3)
    counter.seen.append(1)
    assert evolve(counter, start=4) == Counter("a", start=4)


def test_an_unknown_field_is_refused():
    with pytest.raises(TypeError, match="statsu"):
        evolve(run("run_1", "thread_1").value, statsu=RunStatus.COMPLETED)
