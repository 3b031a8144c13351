"""`SearchingBackend`: what goes to the model, what goes on to the engine, and what neither sees."""

import pytest

from openai_runs.backends import ResponsesBackend, SearchingBackend
from openai_runs.backends.chat_completions import ChatCompletionsBackend
from openai_runs.backends.model_backend import (
    AnnotationAdded,
    Detached,
    Finished,
    HostedToolCall,
    RefusalChunk,
    Replay,
    TextChunk,
    ToolCallChunk,
    Unsupported,
    UsageReport,
)
from openai_runs.backends.stream_reading import StreamError
from openai_runs.errors import BackendError, StoreFileError, StoreUnavailableError
from openai_runs.models.message import CitedFile, FilePath
from openai_runs.models.model import Unknown
from openai_runs.models.run_step import CodeInterpreterCall, InterpretedCode
from openai_runs.models.tool import (
    CodeInterpreterTool,
    FileSearchOptions,
    FileSearchTool,
    Function,
    FunctionTool,
    JsonObjectFormat,
    NamedToolChoice,
    RankingOptions,
)
from tests.backends.reading import together
from tests.backends.requests import WEATHER, a_request, assistant, call, image_url, step, user
from tests.backends.searches import (
    CUP,
    SEARCH,
    STORES,
    TEA,
    TOOL,
    WEATHER_CALL,
    Chunk,
    Files,
    Model,
    ask,
    found,
    outputs,
    respond,
    say,
)
from tests.recorded import Recorded

pytestmark = pytest.mark.anyio

CHOICE = NamedToolChoice(type="file_search")


def test_telemetry_is_the_other_backend_s():
    """It sends the requests, and knows whose API it calls."""
    telemetry, inner = Recorded().telemetry(), ChatCompletionsBackend("https://x.openai.azure.com/openai/v1")
    backend = SearchingBackend(inner, Files())
    backend.observe(telemetry)
    assert backend.provider == "azure.ai.openai"
    assert inner._endpoint._transport.telemetry is telemetry


async def test_a_search_is_carried_out_here_and_told_to_the_model():
    """Question, search, answer: the client sees a search with its queries and results, never the call of a function."""
    model, files = Model(ask(SEARCH), say("Hot 【0:0†tea.md】.")), Files(TEA, CUP)
    events = await respond(model, files, user("How is tea?"))
    assert not any(isinstance(event, ToolCallChunk) for event in events)
    [search] = found(events)
    assert search.extra == {"queries": ["tea"]}
    assert [(each.file_id, each.file_name, each.score) for each in search.results] == [
        ("file-tea", "tea.md", 0.9),
        ("file-cup", "cup.md", 0.5),
    ]
    assert search.results[0].content[0].text == "Tea is hot."
    answer = together(events)
    assert (answer.text, answer.reason) == ("Hot 【0:0†tea.md】.", "stop")
    [note] = answer.annotations
    assert (note.text, note.file_citation.file_id, note.start_index, note.end_index) == (
        "【0:0†tea.md】",
        "file-tea",
        4,
        16,
    )
    first, second = model.requests
    assert [tool.function.name for tool in first.tools] == ["file_search"]
    assert first.tools == second.tools
    assert first.instructions == second.instructions
    assert outputs(second) == ["【0:0†tea.md】\nTea is hot.\n\n【0:1†cup.md】\nA cup holds 0.2 litres."]


async def test_all_stores_are_searched_with_the_tools_options():
    """Those of thread and assistant; how many results, which score, and as much as fits."""
    options = FileSearchOptions(max_num_results=3, ranking_options=RankingOptions(score_threshold=0.4))
    files = Files(TEA)
    changed = FileSearchTool(file_search=options)
    await respond(Model(ask(SEARCH), say("Hot.")), files, tools=(changed,), options={"result_tokens": 900})
    await respond(Model(ask(SEARCH), say("Hot.")), files)
    asked = {"stores": ["vs_thread", "vs_assistant"], "queries": ["tea"]}
    assert files.searches == [
        {**asked, "limit": 3, "ranking_options": {"score_threshold": 0.4}, "max_tokens": 900},
        {**asked, "limit": 20, "ranking_options": None, "max_tokens": 16_000},
    ]


async def test_what_all_model_calls_used_is_added_up():
    """Each report is of all of them so far."""
    model = Model(ask(SEARCH, used=(10, 2)), ask(SEARCH, used=(20, 3)), say("Hot.", used=(30, 4)))
    events = await respond(model, Files(TEA))
    assert [event for event in events if isinstance(event, UsageReport)] == [
        UsageReport(10, 2),
        UsageReport(30, 5),
        UsageReport(60, 9),
    ]


async def test_limits_are_of_all_model_calls_together():
    """Each gets the rest, and none is made when nothing is left."""
    model = Model(ask(SEARCH, used=(10, 2)), ask(SEARCH, used=(30, 2)))
    events = await respond(model, Files(TEA), max_prompt_tokens=40, max_completion_tokens=50)
    assert [(r.max_prompt_tokens, r.max_completion_tokens) for r in model.requests] == [(40, 50), (30, 48)]
    assert events[-1] == Finished("max_prompt_tokens")
    events = await respond(Model(ask(SEARCH)), Files(TEA), max_completion_tokens=2)
    assert events[-1] == Finished("max_tokens")
    assert len(found(events)) == 1


async def test_text_before_a_search_is_a_message_of_its_own():
    """The model sees it again, and places in the next message are counted from 0."""
    model = Model(ask(SEARCH, text="Let me look. 【"), say("【0:0†t】"))
    events = await respond(model, Files(TEA), user("Tea?"))
    kinds = [type(event) for event in events if not isinstance(event, UsageReport)]
    assert kinds == [TextChunk, TextChunk, HostedToolCall, TextChunk, AnnotationAdded, Finished]
    assert [event.annotation.start_index for event in events if isinstance(event, AnnotationAdded)] == [0]
    _, said, searched = model.requests[1].items
    assert said.text == "Let me look. 【"
    assert said.run_id == searched.run_id == model.requests[1].run_id


async def test_parallel_searches_are_carried_out_one_by_one():
    model = Model(ask(SEARCH, ("file_search", '{"queries":["cup"]}')), say("Hot."))
    events = await respond(model, Files(TEA))
    assert [search.extra["queries"] for search in found(events)] == [["tea"], ["cup"]]
    assert [output[:5] for output in outputs(model.requests[1])] == ["【0:0†", "【1:0†"]


async def test_searches_and_functions_in_one_round():
    """The search comes first; then the functions are called, and the run waits for their outputs."""
    model, files = Model(ask(WEATHER_CALL, SEARCH, text="Wait.")), Files(TEA)
    events = await respond(model, files, tools=(WEATHER, TOOL))
    kinds = [type(event) for event in events if not isinstance(event, UsageReport)]
    assert kinds == [TextChunk, HostedToolCall, ToolCallChunk, ToolCallChunk, Finished]
    answer = together(events)
    assert answer.functions == [WEATHER_CALL]
    assert answer.reason == "tool_calls"
    assert len(model.requests) == 1


async def test_without_parallel_calls_only_the_first_counts():
    """The client has asked for one call at a time; the model can make the other one again."""
    one_by_one = {"tools": (WEATHER, TOOL), "parallel_tool_calls": False}
    model = Model(ask(SEARCH, WEATHER_CALL), say("Hot."))
    events = await respond(model, Files(TEA), **one_by_one)
    assert (len(found(events)), together(events).functions) == (1, [])
    events = await respond(Model(ask(WEATHER_CALL, SEARCH)), Files(TEA), **one_by_one)
    assert (len(found(events)), together(events).functions) == (0, [WEATHER_CALL])


async def test_after_tool_outputs_the_search_is_still_known():
    """The conversation is made from the run's steps: its marks still cite, and the next search has the next number."""
    [search] = [e.call for e in await respond(Model(ask(SEARCH), say("")), Files(TEA)) if isinstance(e, HostedToolCall)]
    model = Model(ask(SEARCH), say("【0:0†t】【1:0†c】"))
    events = await respond(model, Files(CUP), user("Tea?"), step(search), step(call()), tools=(WEATHER, TOOL))
    assert [note.file_citation.file_id for note in together(events).annotations] == ["file-tea", "file-cup"]
    assert [output[:5] for output in outputs(model.requests[0])] == ["【0:0†", "sunny"]
    assert outputs(model.requests[1])[2].startswith("【1:0†cup.md】")


async def test_a_forced_search_is_forced_once():
    """Else the run would never end. A choice of another function, or of none, stays what it is."""
    for choice, first in ((CHOICE, "file_search"), ("required", None)):
        model = Model(ask(SEARCH), say("Hot."))
        await respond(model, Files(TEA), tool_choice=choice)
        asked, then = (request.tool_choice for request in model.requests)
        assert then == "auto"
        assert asked == choice if first is None else asked.function.name == first
    model = Model(say("Hot."))
    await respond(model, Files(TEA), tool_choice="none")
    assert model.requests[0].tool_choice == "none"


async def test_a_function_of_the_users_with_this_name_is_theirs():
    """Its calls go out, and the search has another name."""
    own = FunctionTool(function=Function(name="file_search"))
    model = Model(ask(("file_search_2", '{"queries":["tea"]}')), ask(SEARCH))
    events = await respond(model, Files(TEA), tools=(own, TOOL))
    assert [tool.function.name for tool in model.requests[0].tools] == ["file_search", "file_search_2"]
    assert together(events).functions == [SEARCH]
    assert len(found(events)) == 1


async def test_the_number_of_searches_is_bounded():
    """Then the function is not offered any more; a model that goes on calling it fails its run."""
    model = Model(ask(SEARCH), ask(SEARCH, SEARCH), say("Hot."))
    events = await respond(model, Files(TEA), options={"max_searches": 2})
    assert len(found(events)) == 2
    assert [len(request.tools) for request in model.requests] == [1, 1, 0]
    with pytest.raises(BackendError, match="searched 1 times"):
        await respond(Model(ask(SEARCH), ask(SEARCH)), Files(TEA), options={"max_searches": 1})


async def test_a_run_that_does_not_search_is_left_alone():
    """Without the tool, and without a vector store, in which case the tool is left out."""
    plain = ask(WEATHER_CALL, SEARCH)
    for changes in ({"tools": (WEATHER,)}, {"tools": (WEATHER, TOOL), "tool_resources": None}):
        model = Model(plain)
        assert await respond(model, Files(TEA), instructions="Be kind.", **changes) == plain
        assert model.requests[0].tools == (WEATHER,)
        assert model.requests[0].instructions == "Be kind."


async def test_arguments_without_a_query_mean_the_question():
    files = Files()
    await respond(Model(ask(("file_search", "{}")), say("?")), files, user("Tea?"))
    await respond(Model(ask(("file_search", "{}")), say("?")), files, user(image_url()))
    assert [search["queries"] for search in files.searches] == [["Tea?"], []]


async def test_calls_that_are_cut_off_are_not_made():
    """What the model wrote before its limit was reached is not searched for."""
    *chunks, _ = ask(SEARCH)
    events = await respond(Model([*chunks, Finished("max_tokens")]), Files(TEA))
    assert (found(events), events[-1]) == ([], Finished("max_tokens"))


async def test_ids_are_those_of_the_model_or_new_ones():
    """Some models count from ``call_0`` in each round."""
    model = Model(ask(SEARCH), ask(SEARCH), [ToolCallChunk(0, None, *SEARCH), Finished()], say("Hot."))
    events = await respond(model, Files(TEA))
    ids = [event.call.id for event in events if isinstance(event, HostedToolCall)]
    assert ids[0] == "call_0"
    assert len(set(ids)) == 3
    assert all(id.startswith("call_") for id in ids)


async def test_what_the_endpoint_wants_back_comes_with_the_call():
    """Kept with the step, and sent again in the next model call of the same run."""
    thoughts = Replay("me", ({"thought": 1},))
    *chunks, end = ask(SEARCH, WEATHER_CALL)
    events = await respond(Model([*chunks, thoughts, end]), Files(TEA), tools=(WEATHER, TOOL))
    kinds = [type(event) for event in events if not isinstance(event, UsageReport)]
    assert kinds == [Replay, HostedToolCall, ToolCallChunk, ToolCallChunk, Finished]
    *chunks, end = ask(WEATHER_CALL)
    assert thoughts in await respond(Model([*chunks, thoughts, end]), Files(TEA), tools=(WEATHER, TOOL))


async def test_a_call_of_the_endpoints_own_tool_is_part_of_the_conversation():
    """Such as its code interpreter, between two searches here."""
    code = HostedToolCall(CodeInterpreterCall(id="ci_1", code_interpreter=InterpretedCode(input="1")))
    thoughts = Replay("me", ({"thought": 1},))
    model = Model([TextChunk("So "), thoughts, code, *ask(SEARCH)], say("Hot."))
    events = await respond(model, Files(TEA))
    assert events[:3] == [TextChunk("So "), thoughts, code]
    said, computed, searched = model.requests[1].items[1:]
    assert (said.text, computed.tool_calls[0].id) == ("So ", "ci_1")
    assert searched.function_calls[0].function.name == "file_search"


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (StoreUnavailableError("The disk is full."), "The vector stores cannot be searched: The disk is full."),
        (StoreFileError("cannot open /srv/index"), "The vector stores cannot be searched: the server's log says why."),
        (FileNotFoundError(2, "no", "/srv"), "The vector stores cannot be searched: the server's log says why."),
    ],
)
async def test_a_failed_search_fails_the_run(failure, told):
    """It must not look as if nothing were in the files. Clients do not see where the server has them."""
    files = Files()
    files.failure = failure
    with pytest.raises(BackendError) as caught:
        await respond(Model(ask(SEARCH)), files)
    assert caught.value.message == told


def too_long():
    error = BackendError("invalid_prompt", "too long")
    error.__cause__ = StreamError("too long", "invalid_prompt", too_long=True)
    return error


async def test_results_are_fitted_to_the_model():
    """If the prompt is too long with them, the model gets half of them, and is not given more in its next round."""
    files = Files(Chunk("word " * 800), Chunk("word " * 800), Chunk("word " * 800))  # 1,000 tokens each
    model = Model(ask(SEARCH), too_long(), ask(SEARCH), say("Hot."))
    events = await respond(model, files)
    assert [len(search.results) for search in found(events)] == [3, 3]
    sizes = [sum(len(output) for output in outputs(request)) for request in model.requests]
    assert sizes[1] > 12_000
    assert 5_500 < sizes[2] < 6_500
    assert 5_500 < sizes[3] < 6_500


async def test_a_prompt_that_is_too_long_without_results_fails():
    """Other errors, and those after the first word, are no reason to ask again either."""
    with pytest.raises(BackendError, match="too long"):
        await respond(Model(too_long()), Files(TEA))
    with pytest.raises(BackendError, match="too long"):
        await respond(Model(ask(SEARCH), too_long()), Files(TEA))
    with pytest.raises(BackendError, match="no reason"):
        await respond(Model(ask(SEARCH), BackendError("server_error", "no reason")), Files(Chunk("word " * 800)))


async def test_search_first():
    """For weak models: the question is searched for at once, and the best source is cited if the model cites none."""
    model = Model(say("Hot."))
    files = Files(CUP, TEA)
    first = {"options": {"search_first": True}}
    events = await respond(model, files, user("How is tea?"), **first, tool_choice=CHOICE)
    assert isinstance(events[0], HostedToolCall)
    assert files.searches[0]["queries"] == ["How is tea?"]
    assert model.requests[0].tool_choice == "auto"
    answer = together(events)
    assert answer.text == "Hot. 【0:1†tea.md】"
    assert [(note.start_index, note.file_citation.file_id) for note in answer.annotations] == [(5, "file-tea")]


@pytest.mark.parametrize(
    ("text", "chunks", "changes", "told"),
    [
        ("Hot 【0:0†t】", [TEA], {}, "Hot 【0:0†t】"),
        ("Hot.", [], {}, "Hot."),
        ("", [TEA], {}, ""),
        ('{"tea":"hot"}', [TEA], {"response_format": JsonObjectFormat()}, '{"tea":"hot"}'),
    ],
)
async def test_the_best_source_is_not_cited_where_that_makes_no_sense(text, chunks, changes, told):
    """The model has cited, there is none, there is no answer, or the mark would break it."""
    events = await respond(Model(say(text)), Files(*chunks), options={"search_first": True}, **changes)
    assert together(events).text == told


async def test_a_run_searches_first_only_once_and_only_if_it_may():
    """After tool outputs it has searched already; a user may have forbidden it, or sent a picture only."""
    first = {"search_first": True}
    [search] = [e.call for e in await respond(Model(ask(SEARCH), say("")), Files(TEA)) if isinstance(e, HostedToolCall)]
    for items, changes in (
        ((user("Tea?"), step(search), step(call())), {}),
        ((user("Tea?"),), {"tool_choice": "none"}),
        ((user(image_url()),), {}),
        ((user("Tea?"),), {"tools": (WEATHER,)}),
    ):
        files = Files(TEA)
        await respond(Model(say("Hot.")), files, *items, options=first, **changes)
        assert not files.searches


async def test_a_call_in_the_background_is_resumed_if_it_was_the_first():
    """What led to a later one is lost with the process: it is stopped, and the searches are made again."""
    events = await respond(Model([Detached("resp_1"), *ask(SEARCH)], [Detached("resp_2"), *say("Hot.")]), Files(TEA))
    assert [event.handle for event in events if isinstance(event, Detached)] == ["0:resp_1", "1:resp_2"]
    resumed = Model(ask(SEARCH), say("Hot."))
    await respond(resumed, Files(TEA), handle="0:resp_1")
    assert [request.handle for request in resumed.requests] == ["resp_1", None]
    begun_anew = Model(ask(SEARCH), say("Hot."))
    await respond(begun_anew, Files(TEA), handle="1:resp_2")
    assert [request.handle for request in begun_anew.requests] == [None, None]
    assert begun_anew.abandoned == ["resp_2"]


async def test_a_run_without_files_goes_to_the_model_as_it_is():
    """Nothing of its text can be a mark, so nothing is held back; handles are numbered as those of any run."""
    model = Model([Detached("resp_1"), TextChunk("Hot 【0:"), Finished("stop")])
    events = await respond(model, Files(), user("Tea?"), tools=(), tool_resources=None)
    assert events == [Detached("0:resp_1"), TextChunk("Hot 【0:"), Finished("stop")]
    resumed = Model(say("Hot."))
    await respond(resumed, Files(), user("Tea?"), tools=(), tool_resources=None, handle="0:resp_1")
    assert [request.handle for request in (*model.requests, *resumed.requests)] == [None, "resp_1"]


async def test_a_call_in_the_background_is_stopped():
    """Also one from before the other backend was given a search."""
    model = Model()
    async with SearchingBackend(model, Files()) as backend:
        assert model.is_open
        await backend.abandon("0:resp_1")
        await backend.abandon("resp_2")
        await backend.abandon("x:y")
    assert model.abandoned == ["resp_1", "resp_2", "x:y"]
    assert not model.is_open


def test_what_the_other_backend_does_not_support_is_refused():
    """File search is supported; the parameter in a refusal is the right one."""
    backend = SearchingBackend(ChatCompletionsBackend("http://127.0.0.1:1/v1"), Files())

    def refused(**changes):
        return backend.refuse(a_request(**changes))

    assert refused(tools=(TOOL,), tool_resources=STORES, tool_choice=CHOICE) is None
    assert refused(tools=(TOOL,)) is None
    refusal = refused(tools=(TOOL, CodeInterpreterTool()), tool_resources=STORES)
    assert refusal is not None
    assert refusal.param == "tools[1]"
    assert refused(tools=(TOOL, Unknown(type="x", raw={})), tool_resources=STORES).param == "tools[1]"
    missing = refused(tools=(TOOL,), tool_choice=CHOICE)  # without a vector store
    assert isinstance(missing, Unsupported)
    assert missing.param == "tool_choice"
    assert "SearchingBackend" in missing.message
    assert refused(tools=(), tool_choice="required").param == "tool_choice"
    windows = ResponsesBackend("http://127.0.0.1:1/v1", completion_windows=True)
    assert SearchingBackend(windows, Files()).completion_windows == windows.completion_windows
    assert not backend.completion_windows


async def test_other_events_go_on():
    """A refusal begins a new part; an annotation of the endpoint comes after the text before it."""
    path = AnnotationAdded(FilePath(text="p", file_path=CitedFile(file_id="f"), start_index=0, end_index=1))
    model = Model(
        ask(SEARCH),
        [TextChunk("a【0:"), path, TextChunk("b【"), RefusalChunk("No."), TextChunk("【0:0†t】"), Finished()],
    )
    events = (await respond(model, Files(TEA)))[2:]
    texts = [event.text for event in events if isinstance(event, TextChunk | RefusalChunk)]
    assert texts == ["a", "【0:", "b", "【", "No.", "【0:0†t】"]
    assert events[2] == path
    assert [e.annotation.start_index for e in events if isinstance(e, AnnotationAdded) and e != path] == [0]


async def test_earlier_answers_are_told_without_their_marks():
    """As in any conversation; the searches that led to them are left out."""
    [search] = [e.call for e in await respond(Model(ask(SEARCH), say("")), Files(TEA)) if isinstance(e, HostedToolCall)]
    model = Model(say("Hot."))
    before = step(search, run_id="run_before")
    await respond(model, Files(TEA), user("Tea?"), before, assistant("Hot."), user("Sure?"))
    assert [getattr(item, "text", None) for item in model.requests[0].items] == ["Tea?", "Hot.", "Sure?"]
