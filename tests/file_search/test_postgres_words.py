"""What a text's words are, and what PostgreSQL's index of words gets of them."""

import pytest

from openai_runs._slices import at_once
from openai_runs.file_search.postgres_words import listed, vectors_of, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Boil the KETTLE!", ["boil", "the", "kettle"]),
        ("snake_case x86-64 a.b", ["snake", "case", "x86", "64", "a", "b"]),
        ("Ärger, e\u0301clair", ["arger", "eclair"]),
        ("한국어 你好", ["한국어", "你好"]),
        ("x" * 100, ["x" * 64]),
        ("'\\\0\ud800", []),
    ],
)
def test_words(text: str, words: list[str]):
    """Letters and digits, in lower case and without accents; nothing else, so nothing that is syntax."""
    assert words_of(text) == words


def test_what_the_index_gets():
    """The stems of a name and a chunk with their places, each with the key of its vector store."""
    found = at_once(listed("tea.md", ["Kettles, a kettle.", ""]))
    assert found == [["tea", "md", "kettles", "a", "kettle"], ["tea", "md"]]
    stems = {"tea": "tea", "md": "md", "kettles": "kettl", "kettle": "kettl", "a": "a"}
    assert at_once(vectors_of(7, found, stems)) == ["'7/tea':1 '7/md':2 '7/kettl':3,5 '7/a':4", "'7/tea':1 '7/md':2"]
