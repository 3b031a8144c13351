"""Marks of citations in a text that comes in pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs.backends.citations import CitationScanner
from openai_runs.backends.model_backend import AnnotationAdded, TextChunk
from openai_runs.models.run_step import FileSearchResult

SOURCES = {
    (0, 0): FileSearchResult(file_id="file-tea", file_name="tea.md", score=0.9),
    (0, 1): FileSearchResult(file_id="file-cup", file_name="cup.md", score=0.5),
    (12, 3): FileSearchResult(file_id="file-pot", file_name="pot.md", score=0.4),
}


def read(*pieces: str):
    """The text, its annotations as (text, file, start, end), and whether one was cited."""
    scanner = CitationScanner(SOURCES)
    events = [event for piece in pieces for event in scanner.feed(piece)]
    assert all(isinstance(event, TextChunk | AnnotationAdded) for event in events)
    events += scanner.end_part()
    text, notes = "", []
    for event in events:
        if isinstance(event, TextChunk):
            text += event.text
        else:
            note = event.annotation
            assert text[note.start_index : note.end_index] == note.text, "it comes when its text has come"
            notes.append((note.text, note.file_citation.file_id))
    assert scanner.has_cited == bool(notes)
    return text, notes


@pytest.mark.parametrize(
    ("mark", "file_id"),
    [
        ("【0:0†tea.md】", "file-tea"),
        ("【0:1†source】", "file-cup"),
        ("【12:3†pot.md】", "file-pot"),
        ("【0:0】", "file-tea"),
        ("【0:0†】", "file-tea"),
    ],
)
def test_a_mark_is_annotated_however_it_is_cut(mark, file_id):
    """The text stays as it came, and the annotation says where the mark stands in it, in characters."""
    text = f"Teeæ ☕ is hot {mark}. So!"
    for cut in range(len(text) + 1):
        assert read(text[:cut], text[cut:]) == (text, [(mark, file_id)])
    assert read(*text) == (text, [(mark, file_id)])


@pytest.mark.parametrize(
    "text",
    [
        "【1:0†tea.md】",  # no such search
        "【0:2†tea.md】",  # no such result
        "【0:0†tea.md",
        "【0:0 tea.md】",
        "【tea】",
        "【0:0†tea\n】",
        "【99999:0†tea.md】",
        "【0:0†" + "x" * 300 + "】",
        "0:0†tea.md】",
        "【",
        "【【【0:",
    ],
)
def test_what_cites_nothing_stays_as_it_is(text):
    """As in the hosted API: the text has it, and no annotation."""
    assert read(text) == (text, [])
    assert read(*text) == (text, [])


def test_only_the_beginning_of_a_mark_is_held_back():
    """Whoever reads along sees all other text at once."""
    scanner = CitationScanner(SOURCES)
    assert scanner.feed("Hot 【0:0†te") == [TextChunk("Hot ")]
    assert scanner.feed("a [and") == []
    assert scanner.feed(" more\n") == [TextChunk("【0:0†tea [and more\n")]
    assert scanner.feed("【x") == [TextChunk("【x")]


def test_several_marks_and_parts():
    """A new message, or a text after a refusal, is counted from 0."""
    scanner = CitationScanner(SOURCES)
    first = scanner.feed("A 【0:0†a】【0:1†b】 and 【9:9†c】【0:0†a】")
    places = [(e.annotation.start_index, e.annotation.end_index) for e in first if isinstance(e, AnnotationAdded)]
    assert places == [(2, 9), (9, 16), (28, 35)]
    assert scanner.end_part() == []
    [text, note] = scanner.feed("【0:0†a】")
    assert (text, note.annotation.start_index) == (TextChunk("【0:0†a】"), 0)


@given(st.lists(st.text("【】0:1†a\n", max_size=12), max_size=6))
def test_no_character_is_lost(pieces):
    """Whatever a model writes, and however it is cut."""
    text, notes = read(*pieces)
    assert text == "".join(pieces)
    assert read(text) == (text, notes)
