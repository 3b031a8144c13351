"""`SlowModel`: an endpoint whose streamed answer to each message is known, and takes seconds; it notes who asked what.

The message of a user is a name, and the answer follows from it. A name that begins with ``t`` is answered with a call
of a tool first.
"""

import json
import random
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final, Self

import anyio
from aiohttp import web
from anyio import AsyncContextManagerMixin
from attrs import define, field

TOOL: Final = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Look a word up.",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
    },
}
HEADER: Final = "X-Server"
PROMPT_TOKENS: Final = 7
CALL_TOKENS: Final = 3
_WORDS: Final = ("a", "run", "goes", "on", "at", "another", "server", "once", "its", "own", "is", "gone")


def pieces_of(name: str) -> list[str]:
    """The answer, as it is streamed."""
    chance = random.Random(name)
    return [f"{name}:"] + [f" {chance.choice(_WORDS)}{number}" for number in range(chance.randint(6, 20))]


def answer_of(name: str) -> str:
    return "".join(pieces_of(name))


def calls_tool(name: str) -> bool:
    return name.startswith("t")


def output_of(name: str) -> str:
    return f"found {name}"


@define(eq=False)
class Call:
    """A model call."""

    name: str
    is_first: bool  #: whether it is answered with a call of the tool
    server: str
    began: float  #: as all times, of `time.monotonic`
    ended: float | None = None
    is_whole: bool = False  #: whether all of the answer was sent


@define(eq=False)
class SlowModel(AsyncContextManagerMixin):
    """The endpoint.

    Attributes:
        pause: Seconds between two pieces of an answer.
        calls: All model calls, by the name that they answer.
        faults: What was wrong in requests.
    """

    pause: float = 0.25
    calls: dict[str, list[Call]] = field(factory=dict, init=False)
    faults: list[str] = field(factory=list, init=False)
    port: int = field(default=0, init=False)
    _changed: anyio.Event = field(factory=anyio.Event, init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def open_calls(self, server: str) -> dict[str, Call]:
        """The calls of a server that are being answered, by name."""
        last = {name: calls[-1] for name, calls in self.calls.items()}
        return {name: call for name, call in last.items() if call.server == server and call.ended is None}

    async def called(self, name: str) -> Call:
        """Wait for a call, and return it."""
        while name not in self.calls:
            await self._changed.wait()
        return self.calls[name][-1]

    async def ended(self, call: Call) -> float:
        """Wait until a call has ended, and return when that was."""
        while call.ended is None:
            await self._changed.wait()
        return call.ended

    def _note_change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/v1/chat/completions", self._respond)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        messages = (await request.json())["messages"]
        name, has_output = self._read(messages)
        call = Call(name, calls_tool(name) and not has_output, request.headers.get(HEADER, ""), time.monotonic())
        self.calls.setdefault(name, []).append(call)
        self._note_change()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        with suppress(ConnectionError), self._noting_end(call):
            await response.prepare(request)
            due = call.began + random.uniform(0, self.pause)  # not all at once: answers are no chorus
            for chunk in self._tool_call(call) if call.is_first else self._text(call):
                await response.write(b"data: %b\n\n" % json.dumps(chunk).encode())
                due += self.pause
                await anyio.sleep(max(0.0, due - time.monotonic()))
            await response.write(b"data: [DONE]\n\n")
            call.is_whole = True
        return response

    @contextmanager
    def _noting_end(self, call: Call) -> Iterator[None]:
        try:
            yield
        finally:  # it is cancelled as soon as the other side has closed the connection
            call.ended = time.monotonic()
            self._note_change()

    def _text(self, call: Call) -> Iterable[Any]:
        pieces = pieces_of(call.name)
        chunks = [chunk_of({"role": "assistant", "content": ""}), *(chunk_of({"content": piece}) for piece in pieces)]
        return [*chunks, chunk_of({}, "stop"), usage_chunk(len(pieces))]

    def _tool_call(self, call: Call) -> list[Any]:
        id = f"call_{call.name}_{len(self.calls[call.name])}"
        function = {"name": "look_up", "arguments": json.dumps({"word": call.name})}
        calls = [{"index": 0, "id": id, "type": "function", "function": function}]
        return [
            chunk_of({"role": "assistant", "tool_calls": calls}),
            chunk_of({}, "tool_calls"),
            usage_chunk(CALL_TOKENS),
        ]

    def _read(self, messages: Sequence[Any]) -> tuple[str, bool]:
        """The name that is to be answered, and whether the tool's output is there; all before must be as it was."""
        name, turn = "", list[Any]()
        for message in messages:
            if message["role"] == "user":
                if name:
                    self._check(name, turn, is_over=True)
                name, turn = _text(message), []
            elif message["role"] != "system":
                turn.append(message)
        self._check(name, turn, is_over=False)
        return name, bool(turn)

    def _check(self, name: str, turn: Sequence[Any], *, is_over: bool) -> None:
        said = [(message["role"], _text(message)) for message in turn]
        tool = [("assistant", ""), ("tool", output_of(name))] if calls_tool(name) else []
        allowed = [[*tool, ("assistant", answer_of(name))]] if is_over else [[], tool]
        if said not in allowed:
            self.faults.append(f"the model was asked about {name} after {said}")


def _text(message: Any) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def chunk_of(delta: Any, reason: str | None = None) -> Any:
    choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def usage_chunk(tokens: int) -> Any:
    usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": tokens, "total_tokens": PROMPT_TOKENS + tokens}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage}
