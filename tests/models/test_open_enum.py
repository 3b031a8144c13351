"""Enumerations that the API may extend."""

import copy
import json
import pickle

import pytest

from openai_runs.models.message import MessageRole, MessageStatus
from openai_runs.models.run import RunStatus
from openai_runs.models.run_step import RunStepStatus

ENUMS = [RunStatus, RunStepStatus, MessageStatus, MessageRole]


@pytest.mark.parametrize("enum", ENUMS)
def test_known_words(enum):
    """Known values are members, equal to their string, and the same object each time."""
    for member in enum:
        assert member.is_known
        assert enum(member.value) is member
        assert member == member.value
        assert {member.value: 1}[member] == 1


@pytest.mark.parametrize("enum", ENUMS)
def test_unknown_words(enum):
    """Unknown values read as their string, are instances of the enumeration, and are not added to it."""
    before = len(enum)
    new = enum("brand_new")
    assert isinstance(new, enum)
    assert not new.is_known
    assert (new, str(new), new.value, new.name, f"{new}") == ("brand_new",) * 5
    assert new == enum("brand_new")
    assert {new: 1}["brand_new"] == 1
    assert json.dumps(new) == '"brand_new"'
    assert "brand_new" in repr(new)
    assert len(enum) == before
    assert "brand_new" not in enum.__members__


@pytest.mark.parametrize("word", [RunStatus.QUEUED, RunStatus("brand_new")])
def test_words_are_carried_anywhere(word):
    """Copies of unknown values are instances of the enumeration, too."""
    for carried in (copy.copy(word), copy.deepcopy(word), pickle.loads(pickle.dumps(word))):
        assert carried == word
        assert type(carried) is RunStatus
        assert carried.is_known == word.is_known


def test_what_is_no_word():
    """A number is not a status, not even an unknown one."""
    with pytest.raises(ValueError, match="5 is not a valid RunStatus"):
        RunStatus(5)


def test_which_statuses_are_the_end():
    """Five statuses are terminal; an unknown one is not."""
    terminal = {"cancelled", "failed", "completed", "incomplete", "expired"}
    assert {status for status in RunStatus if status.is_terminal} == terminal
    assert not RunStatus("brand_new").is_terminal
