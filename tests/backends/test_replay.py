"""What an endpoint wants back with the outputs of its tool calls: thoughts, signatures, and its own IDs."""

from typing import Any

import pytest
from attrs import evolve

from openai_runs import _wire
from openai_runs.backends.chat_body import chat_body
from openai_runs.backends.chat_completions import ChatCompletionsBackend
from openai_runs.backends.chat_stream import ChatStream
from openai_runs.backends.model_backend import HostedToolCall, Replay
from openai_runs.backends.replay import replay_items, with_replay, without_replay
from openai_runs.backends.responses import ResponsesBackend
from openai_runs.backends.responses_body import responses_body
from openai_runs.backends.responses_stream import ResponsesStream
from openai_runs.models.run_step import RunStep
from openai_runs.server import LocalServer
from openai_runs.stores.sqlite import SQLiteStore
from tests.backends.judge import complaints
from tests.backends.model_stub import ModelStub, refused, stream
from tests.backends.reading import read
from tests.backends.requests import WEATHER, a_request, assistant, call, step, user
from tests.backends.streams import (
    Event,
    call_item,
    call_part,
    chunk,
    event,
    message_item,
    output_text,
    responses_stream,
    without,
)

pytestmark = pytest.mark.anyio

ARGUMENTS = '{"city":"Oslo"}'
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "c2VjcmV0"}
SIGNATURE = {"google": {"thought_signature": "c2lnbmVk"}}


def chat_calls(thoughts: list[Any], *parts: Any) -> list[Event]:
    return [*map(chunk, thoughts), *map(chunk, parts), chunk({}, "tool_calls")]


def one_replay(machine: Any, events: list[Event]) -> Replay:
    told = read(machine, events)
    told += machine.end()
    [found] = [each for each in told if isinstance(each, Replay)]
    return found


def chat_messages(*items: Any, source: str = "here") -> Any:
    body = chat_body(a_request(*items), items, "m", source=source)
    assert not complaints(body, "CreateChatCompletionRequest")
    return body["messages"]


def input_of(*items: Any, source: str = "here") -> Any:
    body = responses_body(a_request(*items), items, "m", source=source)
    assert not complaints(body, "CreateResponse")
    return body["input"]


# --- Chat Completions


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thoughts_go_back_with_the_calls(name: str) -> None:
    """DeepSeek and Kimi refuse tool outputs without the thoughts that led to the calls."""
    part = call_part(0, ARGUMENTS, id="call_1", name="get_weather")
    found = one_replay(ChatStream(source="here"), chat_calls([{name: "Let me "}, {name: "see."}], part))
    kept = with_replay(step(call()), found)
    assert chat_messages(user("?"), kept)[1][name] == "Let me see."
    assert (
        chat_messages(assistant("Hm.", run_id="run_now"), kept)[0].items()
        >= {name: "Let me see.", "content": "Hm."}.items()
    )
    assert name not in chat_messages(user("?"), kept, source="elsewhere")[1]


def test_signatures_go_back_with_their_calls() -> None:
    """Gemini refuses tool outputs without the signature of each call."""
    parts = [
        call_part(0, ARGUMENTS, id="a", name="get_weather", extra_content=SIGNATURE),
        call_part(1, ARGUMENTS, id="b", name="get_weather"),
    ]
    found = one_replay(ChatStream(source="here"), chat_calls([{"extra_content": SIGNATURE}], *parts))
    message = chat_messages(user("?"), with_replay(step(call(id="a"), call(id="b")), found))[1]
    assert message["extra_content"] == SIGNATURE
    assert [each.get("extra_content") for each in message["tool_calls"]] == [SIGNATURE, None]
    # One of them was not made, as parallel calls were turned off.
    message = chat_messages(user("?"), with_replay(step(call(id="a")), found))[1]
    assert [each.get("extra_content") for each in message["tool_calls"]] == [SIGNATURE]


def test_details_of_the_reasoning_are_put_together() -> None:
    details: list[Any] = [
        {"type": "reasoning.text", "text": "Let me ", "index": 0},
        {"type": "reasoning.text", "text": "see.", "signature": "s", "format": None, "index": 0},
        {"type": "reasoning.encrypted", "data": "x", "index": 1},
        {"type": "reasoning.encrypted", "data": "y"},
    ]
    part = call_part(0, ARGUMENTS, id="call_1", name="get_weather")
    found = one_replay(ChatStream(), chat_calls([{"reasoning_details": [each]} for each in details], part))
    assert found.items[0]["message"]["reasoning_details"] == [
        {"type": "reasoning.text", "text": "Let me see.", "signature": "s", "index": 0},
        *details[2:],
    ]


def test_a_message_that_repeats_the_stream_adds_no_thoughts() -> None:
    part = call_part(0, ARGUMENTS, id="call_1", name="get_weather")
    whole = {"index": 0, "delta": {}, "message": {"reasoning": "Hm.", **part}, "finish_reason": "tool_calls"}
    events = [chunk({"reasoning": "Hm."}), chunk(part), event({"choices": [whole]})]
    assert one_replay(ChatStream(), events).items[0]["message"] == {"reasoning": "Hm."}


def test_without_calls_nothing_goes_back() -> None:
    machine = ChatStream()
    read(machine, [chunk({"reasoning": "Hm."}), chunk({"content": "Hello"}), chunk({}, "stop")])
    assert not any(isinstance(each, Replay) for each in machine.end())


# --- Responses


def test_thoughts_messages_and_calls_go_back_in_order() -> None:
    """The Responses API wants each thought before the item that it led to, under the IDs that it has issued."""
    items = [
        THOUGHT,
        message_item(output_text("Let me see."), id="msg_9") | {"phase": "commentary"},
        call_item("f", "{}"),
    ]
    found = one_replay(ResponsesStream(source="here"), responses_stream(items))
    kept = with_replay(step(call("f", "{}")), found)
    said = input_of(user("?"), assistant("Let me see.", run_id="run_now"), kept)
    assert said[1] == THOUGHT
    assert (said[2]["id"], said[2]["phase"], said[2]["content"][0]["text"]) == ("msg_9", "commentary", "Let me see.")
    assert (said[3]["id"], said[3]["call_id"]) == ("fc_1", "call_1")
    assert [each["type"] for each in said[4:]] == ["function_call_output"]
    elsewhere = input_of(user("?"), assistant("Let me see.", run_id="run_now"), kept, source="elsewhere")
    assert [each.get("type") for each in elsewhere] == [None, "message", "function_call", "function_call_output"]
    assert not any("id" in each for each in elsewhere)


def test_thoughts_go_back_with_hosted_calls_too() -> None:
    search = {"type": "file_search_call", "id": "fs_1", "status": "completed", "queries": ["cats"]}
    second = {**THOUGHT, "id": "rs_2"}
    told = read(ResponsesStream(source="here"), responses_stream([THOUGHT, search, second, call_item("f", "{}")]))
    first, hosted, last = [each for each in told if isinstance(each, Replay | HostedToolCall)]
    assert isinstance(first, Replay)
    assert isinstance(hosted, HostedToolCall)
    assert isinstance(last, Replay)
    said = input_of(with_replay(step(hosted.call), first), with_replay(step(call("f", "{}")), last))
    assert [each["type"] for each in said] == [
        "reasoning",
        "file_search_call",
        "reasoning",
        "function_call",
        "function_call_output",
    ]


def test_calls_that_were_not_made_leave_no_thoughts() -> None:
    """Thoughts whose call was dropped, as parallel calls were turned off, would be refused."""
    items = [call_item("f", "{}"), THOUGHT, call_item("g", "{}", id="fc_2", call_id="call_2")]
    found = one_replay(ResponsesStream(source="here"), responses_stream(items))
    said = input_of(with_replay(step(call("f", "{}")), found))
    assert [each["type"] for each in said] == ["function_call", "function_call_output"]


def test_a_call_that_the_engine_has_renamed_is_found() -> None:
    found = one_replay(ResponsesStream(source="here"), responses_stream([call_item("f", "{}", call_id="call_0")]))
    said = input_of(with_replay(step(call("f", "{}", id="call_new")), found))
    assert [(each.get("id"), each["call_id"]) for each in said] == [("fc_1", "call_new"), (None, "call_new")]


def test_long_ids_of_the_endpoint_itself_are_kept() -> None:
    long = "call_" + "x" * 100
    found = Replay("here", ({"type": "function_call", "call_id": long},))
    kept = with_replay(step(call(id=long)), found)
    said = responses_body(a_request(kept), [kept], "m", source="here")["input"]  # longer than OpenAI's own may be
    assert {each["call_id"] for each in said} == {long}
    assert long not in {each["call_id"] for each in input_of(kept, source="elsewhere")}


@pytest.mark.parametrize("stores", [True, False])
def test_thoughts_without_content_are_of_use_if_the_endpoint_stores_them(stores: bool) -> None:
    """Otherwise neither they nor the IDs of items that refer to them can go back."""
    events = without(responses_stream([THOUGHT, call_item("f", "{}")]), "encrypted_content")
    told = read(ResponsesStream(detaches=stores), events)
    kept = [item["type"] for each in told if isinstance(each, Replay) for item in each.items]
    assert kept == (["reasoning", "function_call"] if stores else [])


# --- Kept in the step


def test_clients_do_not_see_it() -> None:
    plain = evolve(step(call()), extra={"other": 1})
    kept = with_replay(plain, Replay("here", ({"a": 1},)))
    assert without_replay(kept) == plain
    assert without_replay(plain) is plain
    assert with_replay(plain, None) is plain
    assert replay_items(_wire.load(_wire.dump(kept), RunStep), "here") == [{"a": 1}]


@pytest.mark.parametrize("kept", [None, 1, {}, {"source": "here"}, {"source": "here", "items": 1}])
def test_anything_may_have_been_imported(kept: Any) -> None:
    assert not replay_items(evolve(step(call()), extra={"openai_runs_replay": kept}), "here")


async def test_thoughts_that_are_refused_are_left_out(kind: str) -> None:
    backend = {"chat": ChatCompletionsBackend, "responses": ResponsesBackend}[kind]
    stub = ModelStub(refused("The encrypted content could not be verified.", code="invalid_encrypted_content"))
    async with stub:
        source = f"{kind} {stub.url} gpt-4o"
        items = ({"message": {"reasoning": "Hm."}, "calls": []},) if kind == "chat" else (THOUGHT,)
        round_ = with_replay(step(call()), Replay(source, items))
        async with backend(stub.url) as opened:
            assert [each async for each in opened.respond(a_request(user("?"), round_))]
    first, second = (str(body) for body in stub.bodies)
    assert "reasoning" in first
    assert "reasoning" not in second


class _Tap:
    """All events that a client sees."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def receive(self, events: Any) -> None:
        self.seen += [str(_wire.encode(each.data)) for each in events]


@pytest.mark.parametrize("kind", ["chat", "responses"])
async def test_thoughts_survive_a_restart(kind: str, tmp_path: Any) -> None:
    """They are stored with the step, sent with the outputs and in later runs, and shown to no client."""
    if kind == "chat":
        part = call_part(0, ARGUMENTS, id="call_1", name="get_weather")
        first = chat_calls([{"reasoning_content": "c2VjcmV0"}], part)
    else:
        first = responses_stream([THOUGHT, call_item("get_weather", ARGUMENTS)])
    backend = {"chat": ChatCompletionsBackend, "responses": ResponsesBackend}[kind]
    stub = ModelStub(stream(first))
    tap = _Tap()
    async with stub:
        async with LocalServer(backend=backend(stub.url), store=SQLiteStore(tmp_path / "db")) as server:
            resources = server.engine
            made = await resources.assistants.create("", {"model": "m", "tools": [_wire.dump(WEATHER)]})
            thread = await resources.threads.create("", {"messages": [{"role": "user", "content": "?"}]})
            async with server.session(api_key="none") as session:
                async for seen in session.runs.follow(await session.runs.create(thread.id, assistant_id=made.id)):
                    if seen.run.status == "requires_action":
                        run = seen.run
                        break
                shown = [_wire.dump(each) async for each in session.run_steps.list(thread_id=thread.id, run_id=run.id)]
        async with LocalServer(backend=backend(stub.url), store=SQLiteStore(tmp_path / "db")) as server:
            outputs = [{"tool_call_id": run.pending_tool_calls[0].id, "output": "sunny"}]
            run = await server.engine.runs.submit_tool_outputs("", thread.id, run.id, outputs, tap)
            async with server.session(api_key="none") as session:
                assert (await session.runs.complete(run)).status == "completed"
                again = await session.runs.create(
                    thread.id,
                    assistant_id=made.id,
                    additional_messages=[{"role": "user", "content": "And now?"}],
                    tool_choice="none",
                )
                await session.runs.complete(again)
                steps = [each async for each in session.run_steps.list(thread_id=thread.id, run_id=run.id)]
                shown += [_wire.dump(each) for each in steps]
                shown.append(_wire.dump(await session.run_steps.retrieve(steps[-1])))
    assert ["c2VjcmV0" in str(body) for body in stub.bodies] == [False, True, True]
    assert "c2VjcmV0" not in str(shown)
    assert tap.seen
    assert "c2VjcmV0" not in str(tap.seen)
