"""Generated loaders: each field by its hint, unions by their ``type``."""

import pytest

from openai_runs._evolving import fillable
from openai_runs._wire.converting import load
from openai_runs.models.message import Message, TextContent
from openai_runs.models.model import NO_EXTRA, Unknown
from openai_runs.models.page import Page
from openai_runs.models.thread import Thread

BODY = {"id": "thread_1", "object": "thread", "created_at": 0}


def test_what_came_is_told_from_what_did_not():
    """``extra`` has the unknown fields, ``absent`` the names of the known ones that did not come."""
    thread = load(BODY | {"metadata": {}, "new_in_2030": 1}, Thread)
    assert (thread.metadata, thread.extra, thread.absent) == ({}, {"new_in_2030": 1}, {"tool_resources"})
    whole = load(BODY | {"metadata": {}, "tool_resources": None}, Thread)
    assert whole.extra is NO_EXTRA
    assert whole.absent == frozenset()


def test_loaded_models_are_frozen():
    """They are filled as instances of another class, and are those of the model's own in the end."""
    thread = load(BODY, Thread)
    assert type(thread) is Thread
    with pytest.raises(AttributeError):
        thread.id = "thread_2"
    other = object.__new__(fillable(Thread))
    other.id = "thread_2"
    other.__class__ = Thread
    assert (type(other), other.id) == (Thread, "thread_2")


def test_unions():
    """A member is picked by its ``type``; one that is unknown keeps its raw data."""
    message = {"id": "msg_1", "object": "thread.message", "created_at": 0, "thread_id": "thread_1", "role": "user"}
    text, hologram = {"type": "text", "text": {"value": "Hi", "annotations": []}}, {"type": "hologram", "depth": 3}
    page = load({"object": "list", "data": [message | {"content": [text, hologram]}], "has_more": False}, Page[Message])
    known, unknown = page.data[0].content
    assert (type(known), known.text.value) == (TextContent, "Hi")
    assert unknown == Unknown("hologram", hologram)
