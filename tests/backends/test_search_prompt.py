"""What a model is told of file search, by value."""

import json

import pytest

from openai_runs.backends import search_prompt
from openai_runs.backends.model_backend import Replay
from openai_runs.backends.replay import replay_items, with_replay
from openai_runs.backends.search_prompt import asked, passages_in, queries_of, search_call, told
from openai_runs.models.run_step import FileSearch, FileSearchCall, FileSearchResult, FoundText
from openai_runs.models.tool import (
    FileSearchOptions,
    FileSearchResources,
    FileSearchTool,
    Function,
    FunctionName,
    FunctionTool,
    JsonObjectFormat,
    NamedToolChoice,
    RankingOptions,
    ToolResources,
)
from tests.backends.requests import RUN, WEATHER, a_request, assistant, call, image_url, step, user

TOOL = FileSearchTool()
STORES = ToolResources(file_search=FileSearchResources(vector_store_ids=("vs_1", "vs_2")))


def result(text="Tea is hot.", name="tea.md", score=0.9):
    return FileSearchResult(file_id=f"file-{name}", file_name=name, score=score, content=(FoundText(text=text),))


def search(*results, id="call_s", queries=("tea",)):
    return FileSearchCall(id=id, file_search=FileSearch(results=results, extra={"queries": list(queries)}))


def outputs(items, room=1000):
    steps = told(items, RUN, "file_search", room)
    return [each.function.output for item in steps for each in getattr(item, "function_calls", ())]


def test_a_search_becomes_a_call_with_its_output():
    """In its place in the conversation, with what the endpoint wants back."""
    mixed = step(search(result(), result("A cup.", "cup.md")), call())
    kept = with_replay(mixed, Replay("me", ({"thought": 1},)))
    before, item, after = told([user("Tea?"), kept, assistant("Hot.")], RUN, "look", 1000)
    assert (before.text, after.text) == ("Tea?", "Hot.")
    [made, other] = item.function_calls
    assert (made.id, made.function.name) == ("call_s", "look")
    assert json.loads(made.function.arguments) == {"queries": ["tea"]}
    assert made.function.output == "【0:0†tea.md】\nTea is hot.\n\n【0:1†cup.md】\nA cup."
    assert other == call()
    assert replay_items(item, "me") == [{"thought": 1}]


def test_searches_are_numbered_within_the_run():
    """So marks are short, and mean the same after the run's next model call."""
    items = [step(search(result())), step(call()), step(search()), step(search(result("B")))]
    first, _, second, third = outputs(items)
    assert (first[:5], second, third) == ("【0:0†", "Nothing was found.", "【2:0†tea.md】\nB")


def test_searches_of_earlier_runs_are_left_out():
    """What they led to is in a message; calls of functions in the same step stay."""
    earlier = step(search(result()), run_id="run_before")
    with_function = step(search(result()), call(), run_id="run_before")
    [item] = told([earlier, with_function], RUN, "file_search", 1000)
    assert item.tool_calls == (call(),)


def test_results_that_the_endpoint_did_not_show_are_none():
    assert outputs([step(FileSearchCall(id="c", file_search=FileSearch()))]) == ["Nothing was found."]


def test_what_does_not_fit_is_left_out():
    """The latest search goes first, a passage that fits in part is shortened, and the model is told."""
    long = result("word " * 400)  # 500 tokens
    assert outputs([step(search(long, long, long))], 1000)[0].endswith("[Passages left out for lack of room: 1]")
    cut = outputs([step(search(long))], 100)[0]
    assert cut.startswith("【0:0†tea.md】\nword word")
    assert 350 < len(cut) < 450
    old, new = outputs([step(search(long)), step(search(long))], 500)
    assert old == "[Passages left out for lack of room: 1]"
    assert "left out" not in new


@pytest.mark.parametrize(
    ("arguments", "queries"),
    [
        ('{"queries": ["tea", "cups"]}', ["tea", "cups"]),
        ('{"queries": "tea"}', ["tea"]),
        ('{"query": "tea"}', ["tea"]),
        ('{"q": "tea", "n": 3}', ["tea"]),
        ('["tea", 1, " "]', ["tea"]),
        ('"tea"', ["tea"]),
        ("tea", ["tea"]),
        ('{"queries": [', ['{"queries": [']),
        ("{}", []),
        ("", []),
        ("null", []),
        (json.dumps({"queries": [str(n) for n in range(20)]}), [str(n) for n in range(8)]),
    ],
)
def test_queries_are_read_as_they_are_meant(arguments, queries):
    """Models write all sorts of arguments; what is no query at all becomes none."""
    assert queries_of(arguments) == queries


def test_the_question_is_the_users_last_message():
    assert asked([user("First"), user(" Tea? "), assistant("Hot.")]) == "Tea?"
    assert asked([user("First"), user(image_url())]) == ""
    assert asked([assistant("Hello")]) == ""


def test_the_function_has_a_name_of_its_own():
    """Also if the user has functions of such names."""
    taken = [FunctionTool(function=Function(name=name)) for name in ("file_search", "file_search_2")]
    assert search_prompt.function_name(a_request(tools=(TOOL,))) == "file_search"
    assert search_prompt.function_name(a_request(tools=(taken[0], TOOL))) == "file_search_2"
    assert search_prompt.function_name(a_request(tools=(*taken, TOOL))) == "file_search_3"


def test_the_function_takes_the_tools_place():
    """Once, so that a parameter in a refusal is still the right one."""
    request = a_request(tools=(WEATHER, TOOL, TOOL), tool_choice=NamedToolChoice(type="file_search"))
    changed = search_prompt.with_function(request, "look")
    weather, made = changed.tools
    assert (weather, made.function.name) == (WEATHER, "look")
    assert changed.tool_choice == NamedToolChoice(type="function", function=FunctionName(name="look"))
    assert search_prompt.with_function(request, "look", is_offered=False).tools == (WEATHER,)
    other = NamedToolChoice(type="function", function=FunctionName(name="get_weather"))
    assert search_prompt.with_function(a_request(tools=(WEATHER,), tool_choice=other), "look").tool_choice == other


def test_a_search_needs_a_vector_store():
    assert search_prompt.search_tool(a_request(tools=(TOOL,), tool_resources=STORES)) == TOOL
    assert search_prompt.store_ids(a_request(tool_resources=STORES)) == ("vs_1", "vs_2")
    assert search_prompt.search_tool(a_request(tools=(TOOL,), tool_resources=ToolResources())) is None
    assert search_prompt.search_tool(a_request(tools=(WEATHER,), tool_resources=STORES)) is None


def test_the_model_is_told_how_to_cite():
    """But not where marks would make the answer invalid."""
    plain = search_prompt.instructions(a_request(instructions="Be kind."), "look")
    assert plain.startswith("Be kind.\n\n")
    assert "look" in plain
    assert "【" in plain
    json_only = search_prompt.instructions(a_request(response_format=JsonObjectFormat()), "look")
    assert "look" in json_only
    assert "【" not in json_only


def test_a_step_has_the_queries_and_the_ranking():
    """The ranking options are those of the tool, or the API's defaults."""

    class Chunk:
        file_id, filename, text, score = "file-1", "tea.md", "Tea is hot.", 0.8

    ranked = FileSearchTool(
        file_search=FileSearchOptions(ranking_options=RankingOptions(score_threshold=0.5, ranker="default_2024_08_21"))
    )
    made = search_call("call_1", ["tea"], ranked, [Chunk()]).file_search
    assert made.ranking_options == RankingOptions(score_threshold=0.5, ranker="default_2024_08_21")
    assert made.extra == {"queries": ["tea"]}
    [found] = made.results
    assert (found.file_id, found.file_name, found.score, found.content[0].text) == (
        "file-1",
        "tea.md",
        0.8,
        "Tea is hot.",
    )
    assert search_call("call_1", [], TOOL, []).file_search.ranking_options == RankingOptions(
        score_threshold=0.0, ranker="auto"
    )


def test_a_files_name_cannot_break_a_mark():
    odd = result(name="a【b】\n c.md" + "x" * 200)
    mark = search_prompt.mark_of(1, 2, odd)
    assert mark.startswith("【1:2†a b c.mdx")
    assert mark.count("【") == mark.count("】") == 1
    assert len(mark) < 100


def test_passages_are_found_again():
    """By a scripted model, which cites them."""
    items = [step(search(result("One.\n\nTwo 【9:9†x】."), result("B", "b.md")))]
    assert list(passages_in(outputs(items)[0])) == [("【0:0†tea.md】", "One.\n\nTwo 【9:9†x】."), ("【0:1†b.md】", "B")]
    assert list(passages_in("Nothing was found.")) == []
