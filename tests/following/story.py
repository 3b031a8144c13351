"""A stub server with one scripted run, polled or streamed, over connections that break where the test wants."""

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from openai_runs.following.streaming import RunStream
from openai_runs.services.runs import MARKER
from openai_runs.toolbox import Toolbox
from tests.samples import EXAMPLES
from tests.stub import CUT, Reply, Request, Stub, error, reply
from tests.weather import QUICK

RUN = json.loads((EXAMPLES / "objects/RunObject.json").read_text()) | {"id": "run_1", "thread_id": "thread_1"}
IDS = {"thread_id": "thread_1", "run_id": "run_1", "assistant_id": RUN["assistant_id"], "created_at": 0}

Event = tuple[str, Any]


def run(status: str, **fields: Any) -> Any:
    return {**RUN, "status": status, "required_action": None, **fields}


def waiting(*calls: str) -> Any:
    """The run, waiting for the outputs of these calls."""
    wanted = [{"id": call, "type": "function", "function": {"name": "f", "arguments": "{}"}} for call in calls]
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": wanted}}
    return run("requires_action", required_action=action)


def message(id: str, text: str | None = None, **fields: Any) -> Any:
    content = [] if text is None else [{"type": "text", "text": {"value": text, "annotations": []}}]
    status = "in_progress" if text is None else "completed"
    return {"id": id, **IDS, "role": "assistant", "status": status, "content": content, **fields}


def delta(id: str, text: str, index: int = 0) -> Event:
    content = [{"index": index, "type": "text", "text": {"value": text}}]
    return "thread.message.delta", {"id": id, "object": "thread.message.delta", "delta": {"content": content}}


def step(id: str, status: str = "in_progress", message_id: str | None = None) -> Any:
    details: Any = {"type": "tool_calls", "tool_calls": []}
    if message_id is not None:
        details = {"type": "message_creation", "message_creation": {"message_id": message_id}}
    return {"id": id, **IDS, "type": details["type"], "status": status, "step_details": details}


def leg(number: int, pieces: Sequence[str], calls: Sequence[str], end: str = "completed") -> list[Event]:
    """The events of one stream, in the documented order: a text in pieces, then tool calls or the end."""
    events: list[Event] = []
    if number == 0:
        events += [("thread.run.created", run("queued"))]
    else:
        events += [("thread.run.step.completed", step(f"step_{number - 1}_tools", "completed"))]
    events += [(f"thread.run.{status}", run(status)) for status in ("queued", "in_progress")]
    if pieces:
        one, id = f"step_{number}_text", f"msg_{number}"
        events += [(f"thread.run.step.{name}", step(one, message_id=id)) for name in ("created", "in_progress")]
        events += [(f"thread.message.{name}", message(id)) for name in ("created", "in_progress")]
        events += [delta(id, piece) for piece in pieces]
        events += [("thread.message.completed", message(id, "".join(pieces)))]
        events += [("thread.run.step.completed", step(one, "completed", id))]
    if calls:
        events += [("thread.run.step.created", step(f"step_{number}_tools"))]
        return [*events, ("thread.run.requires_action", waiting(*calls))]
    return [*events, (f"thread.run.{end}", run(end))]


def framed(*events: Event) -> list[bytes]:
    """Events as they are on the wire."""
    texts = [payload if isinstance(payload, str) else json.dumps(payload) for _, payload in events]
    return [f"event: {name}\ndata: {text}\n\n".encode() for (name, _), text in zip(events, texts, strict=True)]


DONE: Event = ("done", "[DONE]")


def stream(*frames: bytes, chunked: bool = True, content_type: str = "text/event-stream") -> Reply:
    """A streaming response; its end is the last chunk, or the end of the connection."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n"
    if not chunked:
        return Reply(f"{head}Connection: close\r\n\r\n".encode() + b"".join(frames), "close")
    chunks = [f"{len(frame):x}\r\n".encode() + frame + b"\r\n" for frame in frames]
    return Reply(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + b"".join(chunks) + b"0\r\n\r\n")


class Story:
    """A server with one run. A poll returns the run, and then moves it to its next status.

    Args:
        legs: What happens from the start, and after each submission of outputs.
        cuts: For each answer, how much of it is sent before the connection breaks, or ``None`` if it does not.
            Looks for the run among others are spared.
        chunked: Whether the end of a stream is a last chunk, or the end of the connection.
    """

    def __init__(
        self, legs: Sequence[Sequence[Event]], cuts: Iterable[float | None] = (), *, chunked: bool = True
    ) -> None:
        self.submissions: list[dict[str, str]] = []
        self.streams = 0
        self._legs = [list(events) for events in legs]
        self._cuts = iter(cuts)
        self._chunked = chunked
        self._metadata: dict[str, str] = {}
        self._past: list[Event] = []
        self._ahead: list[Event] = []

    @property
    def now(self) -> Any:
        """The current state of the run."""
        return {**next(payload for name, payload in reversed(self._past) if _is_run(name)), "metadata": self._metadata}

    def __call__(self, request: Request) -> Reply:
        """For `Stub`."""
        match request.method, request.path.removeprefix("/v1/threads/thread_1/runs"):
            case "POST", "":
                assert not self._past, "a second run"
                self._metadata = request.json["metadata"]
                return self._begin(request)
            case "POST", "/run_1/submit_tool_outputs":
                outputs = {output["tool_call_id"]: output["output"] for output in request.json["tool_outputs"]}
                if set(outputs) != self._wanted():
                    return error(400, "the run does not wait for these")
                if (cut := next(self._cuts, None)) is not None and cut < 0.2:
                    return CUT  # the request was lost
                self.submissions.append(outputs)
                return self._begin(request)
            case "GET", "":
                assert MARKER in self._metadata
                return _page(*[self.now] * bool(self._past))
            case "GET", "/run_1":
                return self._poll()
            case "GET", "/run_1/steps":
                return self._list("thread.run.step.")
            case "GET", _ if request.path == "/v1/threads/thread_1/messages":
                assert "run_id=run_1" in request.query
                return self._list("thread.message.", message("msg_9", "not of this run", run_id="run_0"))
        raise AssertionError(f"unexpected: {request}")

    def _wanted(self) -> set[str]:
        action = self.now["required_action"]
        return {call["id"] for call in action["submit_tool_outputs"]["tool_calls"]} if action else set()

    def _begin(self, request: Request) -> Reply:
        self._ahead = self._legs.pop(0)
        queued = [name for name, _ in self._ahead].index("thread.run.queued") + 1
        if not request.json.get("stream"):
            self._happen(queued)
            return reply(self.now)
        self.streams += 1
        frames = framed(*self._ahead, DONE)
        whole = stream(*frames, chunked=self._chunked)
        if (cut := next(self._cuts, None)) is None:
            self._happen(len(self._ahead))
            return whole
        sent = whole.data[: int(len(whole.data) * cut)]
        self._happen(max(queued, _count(frames, sent)))
        return Reply(sent, "close")

    def _poll(self) -> Reply:
        now = self.now
        if (cut := next(self._cuts, None)) is not None:
            return _cut(reply(now), cut)
        # On to the next status, unless it has to be waited for.
        changes = [
            i for i, (name, run) in enumerate(self._ahead, 1) if _is_run(name) and run["status"] != now["status"]
        ]
        self._happen(min(changes, default=0))
        return reply(now)

    def _happen(self, count: int) -> None:
        self._past += self._ahead[:count]
        del self._ahead[:count]

    def _list(self, word: str, *more: Any) -> Reply:
        latest = {
            payload["id"]: payload for name, payload in self._past if name.startswith(word) and "status" in payload
        }
        answer = _page(*latest.values(), *more)
        return answer if (cut := next(self._cuts, None)) is None else _cut(answer, cut)


def _is_run(name: str) -> bool:
    return name.startswith("thread.run.") and not name.startswith("thread.run.step.")


def _page(*items: Any) -> Reply:
    return reply({"object": "list", "data": items, "has_more": False, "first_id": None, "last_id": None})


def _cut(answer: Reply, part: float) -> Reply:
    return Reply(answer.data[: int(len(answer.data) * part)], "close")


def _count(frames: list[bytes], sent: bytes) -> int:
    """How many events the bytes hold; the blank line at the end may be missing."""
    place = 0
    for count, frame in enumerate(frames):
        if (found := sent.find(frame[:-2], place)) < 0:
            return count
        place = found + len(frame) - 2
    return len(frames)


class Counting(Toolbox):
    """Counts the calls."""

    def __init__(self) -> None:
        super().__init__(on_error="raise")
        self.calls = 0

        @self.tool
        async def f() -> str:
            self.calls += 1
            return str(self.calls)


def ends(*frames: bytes, **options: Any) -> Reply:
    """A stream that ends properly."""
    return stream(*frames, *framed(DONE), **options)


EMPTY = reply({"object": "list", "data": [], "has_more": False})
CREATED = ("thread.run.created", run("queued"))
COMPLETED = ("thread.run.completed", run("completed"))


@asynccontextmanager
async def streaming(*answers: Any, strict: bool = False, **params: Any) -> AsyncIterator[tuple[Stub, RunStream]]:
    """A stream from a server with this response."""
    async with (
        Stub(*answers) as stub,
        stub.session(strict=strict) as session,
        session.runs.stream("thread_1", **{"assistant_id": "asst_1", "polling": QUICK, **params}) as events,
    ):
        yield stub, events
