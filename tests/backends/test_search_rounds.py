"""`SearchRounds` and `ModelCall`: the state between two calls of a model; `test_searching.py` has whole rounds."""

from openai_runs.backends.model_backend import Finished, Replay, TextChunk, ToolCallChunk, UsageReport
from openai_runs.backends.replay import replay_items
from openai_runs.backends.search_rounds import ModelCall, SearchRounds
from openai_runs.models.model import Unknown
from openai_runs.models.run_step import FileSearch, FileSearchCall, FileSearchResult, FoundText
from tests.backends.requests import a_request, call, step, user
from tests.backends.searches import STORES, TOOL


def search(*scores, id="call_s"):
    results = tuple(
        FileSearchResult(file_id="f", file_name=f"{score}.md", score=score, content=(FoundText(text="word " * 80),))
        for score in scores
    )
    return FileSearchCall(id=id, file_search=FileSearch(results=results))


def rounds(*items, searches=2, room=1000, **changes):
    return SearchRounds(a_request(*items, tools=(TOOL,), tool_resources=STORES, **changes), searches, room)


def test_time_and_tokens_that_are_used_are_not_left():
    """For the next model call; what has no limit stays without."""
    here = rounds(seconds_left=100.0, max_prompt_tokens=50)
    here.end_model_call(UsageReport(20, 5))
    asked = here.next_request(30.0)
    assert (asked.seconds_left, asked.max_prompt_tokens, asked.max_completion_tokens) == (70.0, 30, None)
    assert here.used_up() is None


def test_a_handle_is_for_one_call():
    here = rounds()
    here.handle = "resp_1"
    assert here.next_request(0.0).handle == "resp_1"
    here.end_model_call(UsageReport(0, 0))
    assert here.next_request(0.0).handle is None


def test_searches_of_the_run_count_and_those_of_others_do_not():
    here = rounds(step(search(0.5)), step(search(0.9), run_id="run_before"))
    assert (here.searches, here.searches_left, list(here.sources)) == (1, 1, [(0, 0)])
    here.add_call(search(0.7, 0.8))
    assert (here.searches_left, list(here.sources)) == (0, [(0, 0), (1, 0), (1, 1)])
    assert here.best_marks == ["【1:1†0.8.md】"]
    assert rounds().best_marks == []


def test_what_the_model_gets_is_estimated():
    """Four bytes are a token: all that was found, or as much as there is room for."""
    found = step(search(0.5, 0.4))
    assert (rounds(found).shown_tokens, rounds(found, room=150).shown_tokens) == (200, 150)


def test_an_id_that_is_used_is_not_used_again():
    here = rounds(user("Tea?"), step(call(id="call_0"), Unknown(type="x", raw={})))
    assert (here.unused("call_0"), here.unused("call_1"), here.unused(None)) == (None, "call_1", None)


def test_what_the_endpoint_wants_back_is_kept_with_the_call():
    here = rounds()
    here.add_call(search(), Replay("me", ({"thought": 1},)))
    assert replay_items(here.next_request(0.0).items[-1], "me") == [{"thought": 1}]


def test_calls_are_held_back_until_the_end():
    """It is clear only then whose they are, and in which order they go out."""
    answer = ModelCall(rounds())
    chunk = ToolCallChunk(0, None, "get_weather", "{}")
    assert answer.read(chunk) == []
    assert answer.read(TextChunk("Wait.")) == [TextChunk("Wait.")]
    assert answer.has_begun
    assert list(answer.end(cites_best=True)) == [chunk, Finished()]
