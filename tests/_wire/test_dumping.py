"""Generated dump functions: which fields are written, and which are left out."""

from datetime import UTC, datetime

from attrs import evolve

from openai_runs._wire.converting import dump, dump_as_read, load
from openai_runs.models.thread import Thread

BODY = {"id": "thread_1", "object": "thread", "created_at": 0}


def test_a_model_made_by_hand():
    """Fields that were not set are not written; the others are, with the wire's types."""
    assert dump(Thread(id="thread_1", created_at=datetime(1970, 1, 1, tzinfo=UTC))).items() >= BODY.items()
    assert "tool_resources" not in dump(Thread(id="thread_1", created_at=datetime(1970, 1, 1, tzinfo=UTC)))


def test_a_model_that_came():
    """It is written as it came: null stays null, what was absent stays absent, unknown fields stay."""
    for more in {}, {"metadata": None}, {"metadata": {}}, {"new_in_2030": [1]}:
        assert dump(load(BODY | more, Thread)) == BODY | more


def test_a_model_that_came_and_was_changed():
    """A field that was absent is written once it has a value."""
    assert dump(evolve(load(BODY, Thread), metadata={"a": "b"})) == BODY | {"metadata": {"a": "b"}}


def test_an_odd_value():
    """It is repeated as it came, and not in what says how it was read."""
    odd = BODY | {"metadata": 7}
    thread = load(odd, Thread, strict=False)
    assert dump(thread) == odd
    assert dump_as_read(thread)["metadata"] != 7
