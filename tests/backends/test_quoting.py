"""What a scripted model makes of what a search has found."""

from openai_runs.backends.quoting import cited, is_search, quoted
from openai_runs.backends.search_prompt import SEARCH_PARAMETERS
from openai_runs.models.tool import Function
from tests.backends.requests import call, step

OUTPUT = """【0:0†tea.md】
Tea is hot. Boil the kettle at 99.5 degrees!

Then wait.

【0:1†cup.md】
A cup holds 0.2 litres of tea."""


def test_the_sentence_that_fits_best_is_quoted():
    """With the mark of its own passage; the first of several that fit as well."""
    assert quoted(OUTPUT, "How many litres does a cup hold?") == "A cup holds 0.2 litres of tea. 【0:1†cup.md】"
    assert quoted(OUTPUT, "boil KETTLE") == "Boil the kettle at 99.5 degrees! 【0:0†tea.md】"
    assert quoted(OUTPUT, "") == "Tea is hot. 【0:0†tea.md】"
    assert quoted("Nothing was found.", "What?") == "Nothing was found."


def test_a_passage_is_cited_by_its_words():
    """Else the best one, which is the first."""
    rounds = [step(call("f", output=OUTPUT)), step(call("f", output=None))]
    assert cited(rounds, "0.2 litres") == ["【0:1†cup.md】"]
    assert cited(rounds, "") == cited(rounds, "coffee") == ["【0:0†tea.md】"]
    assert cited([step(call("f", output="Nothing was found."))], "tea") == []


def test_the_function_is_known_by_its_parameters():
    """Its name is another one if the user has a function of that name."""
    assert is_search(Function(name="file_search_2", parameters=SEARCH_PARAMETERS))
    assert not is_search(Function(name="file_search"))
