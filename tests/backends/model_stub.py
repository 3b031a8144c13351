"""A stub of both APIs: checks each request against its schema, and sends given replies, or those of a simple model."""

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, Self

from anyio import AsyncContextManagerMixin
from attrs import define

from openai_runs.backends.schema_samples import sample
from tests.backends.judge import complaints
from tests.backends.streams import Event, chat_answer, responses_answer, wire
from tests.stub import Reply, Request, Stub, error, reply

SCHEMAS = {"/v1/chat/completions": "CreateChatCompletionRequest", "/v1/responses": "CreateResponse"}
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"


def stream(events: Sequence[Event], *, end: Literal["whole", "cut", "hang"] = "whole") -> Reply:
    """A reply of server-sent events, each in an HTTP chunk; it may be cut off."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(text), text) for text in wire(events))
    if end == "whole":
        return Reply(_HEAD + chunks + b"0\r\n\r\n")
    return Reply(_HEAD + chunks, "close" if end == "cut" else "hang")


def limited(seconds: str | None = None, **headers: str) -> Reply:
    """A 429 for a rate limit."""
    error = {"message": "Slow down.", "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded"}
    return reply({"error": error}, 429, **(headers if seconds is None else {"retry_after": seconds, **headers}))


def refused(message: str, status: int = 400, code: str | None = None, type: str = "invalid_request_error") -> Reply:
    return reply({"error": {"message": message, "type": type, "param": None, "code": code}}, status)


class ModelStub(AsyncContextManagerMixin):
    """An endpoint that speaks both APIs.

    Attributes:
        replies: What it answers first; a function is asked with the request.
        bodies: What it was asked, request by request.
        looks: How often each response in the background that is not streamed is looked at before it has ended.
    """

    def __init__(self, *replies: Reply | Callable[[Request], Reply]) -> None:
        self.replies = list(replies)
        self.bodies: list[Any] = []
        self.looks = 0
        self._stored: dict[str, Stored] = {}
        self._complaints: list[str] = []
        self._stub = Stub(self._answer)

    @property
    def url(self) -> str:
        return self._stub.url

    @property
    def requests(self) -> list[Request]:
        return self._stub.requests

    @property
    def http(self) -> Stub:
        return self._stub

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        async with self._stub:
            yield self
            assert not self._complaints
            assert not self.replies, "not all replies were asked for"

    def _answer(self, request: Request) -> Reply:
        schema = SCHEMAS.get(request.path)
        if request.method == "POST" and schema is not None:
            self.bodies.append(request.json)
            self._complaints += complaints(request.json, schema) + open_calls(self._conversation(request.json))
        if self.replies:
            planned = self.replies.pop(0)
            return planned if isinstance(planned, Reply) else planned(request)
        if (stored := self._stored.get(request.path.rpartition("/")[2])) is not None and not request.query:
            return stored.seen()
        if request.method != "POST" or schema is None:
            return error(404, f"unexpected: {request.method} {request.target}")
        if request.json.get("background") and not request.json["stream"]:
            return self._take(request.json)
        return stream(MODELS[schema](request.json))

    def end_looks(self) -> None:
        """Have all responses in the background end."""
        for stored in self._stored.values():
            stored.looks = 0

    def _conversation(self, body: Any) -> Any:
        """The body with all that the response before it has."""
        before = self._stored.get(body.get("previous_response_id"))
        return body if before is None else {**body, "input": [*before.items, *body["input"]]}

    def _take(self, body: Any) -> Reply:
        """Take a call in the background, whose response is asked for later."""
        whole = self._conversation(body)
        id = f"resp_{len(self._stored) + 1}"
        answer = json.loads(responses_model(whole)[-1][1])["response"] | {"id": id}
        self._stored[id] = Stored([*whole["input"], *answer["output"]], answer, self.looks)
        return reply(answer | {"status": "queued", "output": [], "usage": None})


@define
class Stored:
    """A response in the background."""

    items: list[Any]  #: of the conversation, those of the response included
    answer: Any
    looks: int  #: how often it has not ended yet when it is looked at

    def seen(self) -> Reply:
        """The answer to a look."""
        if self.looks > 0:
            self.looks -= 1
            return reply(self.answer | {"status": "in_progress", "output": [], "usage": None})
        return reply(self.answer)


def open_calls(body: Any) -> list[str]:
    """What both APIs refuse though the schemas allow it: calls without outputs, the reverse, and repeated IDs."""
    messages, items = body.get("messages", ()), body.get("input", ())
    calls = [call["id"] for message in messages for call in message.get("tool_calls", ())]
    calls += [item["call_id"] for item in items if item.get("type") == "function_call"]
    outputs = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    outputs += [item["call_id"] for item in items if item.get("type") == "function_call_output"]
    wrong = sorted(calls) != sorted(outputs) or len(set(calls)) < len(calls)
    return [f"calls {calls} have outputs {outputs}"] if wrong else []


def texts(body: Any) -> list[str]:
    """The texts of the messages in a request body."""
    contents = [item["content"] for item in body.get("messages", body.get("input")) if "content" in item]
    return [content if isinstance(content, str) else content[0]["text"] for content in contents]


def chat_model(body: Any) -> list[Event]:
    """The Chat Completions reply: calls each function once, then a message with the outputs."""
    turn: list[Any] = []
    for message in body["messages"]:
        turn = [message] if message["role"] == "user" else [*turn, message]
    calls = {call["id"]: call["function"]["name"] for message in turn for call in message.get("tool_calls", ())}
    outputs = [(calls[each["tool_call_id"]], each["content"]) for each in turn if each["role"] == "tool"]
    functions = [tool["function"] for tool in body.get("tools", ())]
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    asked = turn[0]["content"] if turn else ""
    return chat_answer(*_answer(functions, body.get("tool_choice"), outputs, schema, asked))


def responses_model(body: Any) -> list[Event]:
    """The same for the Responses API."""
    turn: list[Any] = []
    for item in body["input"]:
        turn = [item] if item.get("role") == "user" else [*turn, item]
    calls = {item["call_id"]: item["name"] for item in turn if item.get("type") == "function_call"}
    outputs = [(calls[each["call_id"]], each["output"]) for each in turn if each.get("type") == "function_call_output"]
    functions = [tool for tool in body.get("tools", ()) if tool["type"] == "function"]
    schema = body.get("text", {}).get("format", {}).get("schema")
    asked = turn[0]["content"] if turn else ""
    return responses_answer(*_answer(functions, body.get("tool_choice"), outputs, schema, asked))


def _answer(
    functions: Sequence[Any], choice: Any, outputs: Sequence[tuple[str, str]], schema: Any, asked: str
) -> tuple[str, list[tuple[str, str]]]:
    if functions and not outputs and choice != "none":
        named = choice.get("name") or choice["function"]["name"] if isinstance(choice, dict) else None
        functions = [function for function in functions if named in (None, function["name"])]
        return "", [(function["name"], json.dumps(sample(function["parameters"], [asked]))) for function in functions]
    if schema is not None:
        return json.dumps(sample(schema, [asked])), []
    return "\n".join(f"{name} answered: {output}" for name, output in outputs) or f"You said: {asked}", []


MODELS: dict[str, Callable[[Any], list[Event]]] = {
    "CreateChatCompletionRequest": chat_model,
    "CreateResponse": responses_model,
}
