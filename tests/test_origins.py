"""`openai_runs._origins`: notes about objects, by identity."""

import copy
import gc

from openai_runs._origins import Notes, note_origin, origin_of, tick
from openai_runs.models.tool import FunctionCall, FunctionToolCall


def call() -> FunctionToolCall:
    return FunctionToolCall(id="call_0", function=FunctionCall(name="f", arguments="{}"))


def test_notes_are_about_one_object() -> None:
    """Equal objects have notes of their own, or none."""
    notes: Notes[str] = Notes()
    one, other = call(), call()
    assert one == other
    notes.add(one, "one")
    assert (notes.get(one), notes.get(other), notes.get(copy.copy(one))) == ("one", None, None)
    notes.add(one, "two")
    assert (notes.get(one), len(notes)) == ("two", 1)


def test_notes_go_with_their_objects() -> None:
    """Memory does not grow with the number of runs."""
    notes: Notes[int] = Notes()
    for n in range(100):
        notes.add(call(), n)
    gc.collect()
    assert len(notes) == 0


def test_the_first_origin_stays() -> None:
    """What counts is the first snapshot that a call stands in: a changed copy of it is not newer."""
    read = call()
    assert origin_of(read) is None
    note_origin(read, "run_1")
    later = tick()
    note_origin(read, "run_1")
    assert origin_of(read).run_id == "run_1"
    assert origin_of(read).seen_at < later
