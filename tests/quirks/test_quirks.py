"""Bodies and streams in the shapes that named servers really send. See README.md."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from openai_runs import dump, load
from openai_runs._http.byte_stream import ByteStream
from openai_runs._http.redaction import Secrets
from openai_runs._http.response import Reader
from openai_runs._wire import liberal
from openai_runs.errors import ProtocolError
from openai_runs.following.event_stream import EventStream
from openai_runs.following.follower import Follower
from openai_runs.following.run_requests import RunRequests
from openai_runs.following.transcript import Transcript
from openai_runs.models.assistant import Assistant
from openai_runs.models.delta import MessageDelta, RunStepDelta
from openai_runs.models.message import Message
from openai_runs.models.model import Model
from openai_runs.models.page import Page
from openai_runs.models.run import Run
from openai_runs.models.run_step import RunStep
from openai_runs.models.thread import Thread
from openai_runs.session import Session
from tests.stub import Stub, reply

pytestmark = [pytest.mark.anyio, pytest.mark.unmeasured]

HERE = Path(__file__).parent
BODIES = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(HERE.glob("bodies/*.json"))}
READABLE = [name for name, body in BODIES.items() if "odd" in body]
STREAMS = {path.stem: path.read_bytes() for path in sorted(HERE.glob("streams/*.sse"))}
MODELS: dict[str, Any] = {
    "Assistant": Assistant,
    "Message": Message,
    "Page[Assistant]": Page[Assistant],
    "Page[Message]": Page[Message],
    "Run": Run,
    "RunStep": RunStep,
    "Thread": Thread,
}


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str, str]]:
    """The oddities that have been logged."""
    empty: set[tuple[str, str, str]] = set()
    monkeypatch.setattr(liberal, "_logged", empty)
    return empty


def listed(oddities: set[tuple[str, str, str]]) -> list[str]:
    return sorted(f"{cls}.{name}: {what}" for cls, name, what in oddities)


def test_every_quirk_has_a_source() -> None:
    """Each file says which server it is of, where that can be seen, and of when that is."""
    assert len(BODIES) >= 15
    assert len(STREAMS) >= 4
    for head in [*BODIES.values(), *map(header, STREAMS.values())]:
        assert head["server"]
        assert head["source"].startswith("https://")
        assert re.fullmatch(r"202[3-6]-\d\d", head["date"])
        assert head["note"]


@pytest.mark.parametrize("name", READABLE)
def test_bodies(name: str, logged: set[tuple[str, str, str]], caplog: pytest.LogCaptureFixture) -> None:
    """A model is made, each oddity is logged once, and the body survives a round trip."""
    quirk = BODIES[name]
    into, body = MODELS[quirk["model"]], quirk["body"]
    for _ in range(2):
        model = load(json.dumps(body), into, strict=False)
    assert dump(model) == body
    assert listed(logged) == sorted(quirk["odd"])
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * len(quirk["odd"])
    if quirk["odd"]:
        with pytest.raises(ProtocolError):
            load(body, into)
    else:
        assert load(body, into) == model


@pytest.mark.parametrize("name", sorted(BODIES.keys() - set(READABLE)))
def test_what_is_no_such_object(name: str) -> None:
    """What has no ID, or is no object, is refused: nothing could be done with it."""
    quirk = BODIES[name]
    with pytest.raises(ProtocolError) as caught:
        load(json.dumps(quirk["body"]), MODELS[quirk["model"]], strict=False)
    assert [path.rpartition(" @ ")[2] for path in caught.value.paths][: len(quirk["error"])] == quirk["error"]


@pytest.mark.parametrize("name", [name for name in READABLE if BODIES[name]["model"] == "Run"])
async def test_in_a_session(name: str) -> None:
    """A session makes the same model of such a response."""
    body = BODIES[name]["body"]
    async with Stub(reply(body)) as stub, stub.session() as session:
        run = await session.runs.retrieve(thread_id=body["thread_id"], run_id=body["id"])
    assert dump(run) == body


class Pieces:
    """The body of a response, in pieces; the second cuts an event."""

    def __init__(self, data: bytes) -> None:
        middle = len(data) * 2 // 3
        self.content = self
        self._pieces = iter((data[:middle], data[middle:], b""))

    async def readany(self) -> bytes:
        return next(self._pieces)

    def close(self) -> None:
        pass


def header(data: bytes) -> dict[str, str]:
    comments = data.decode().partition("\n\n")[0]
    return dict(re.findall(r"^: (\w+): ?(.*)$", comments, re.MULTILINE))


def payloads_in(frames: list[Any], stream: EventStream) -> Iterator[Model]:
    for frame in frames:
        payload = stream.payload(frame)
        if payload is not None:
            assert isinstance(payload, Model), payload
            yield payload


@pytest.mark.parametrize("name", STREAMS)
async def test_streams(name: str, logged: set[tuple[str, str, str]]) -> None:
    """Each event is read as what it is; each oddity is logged once; messages and steps merge."""
    expected = header(STREAMS[name])
    response: Any = Pieces(STREAMS[name])
    url = URL("http://localhost/v1")
    stream = EventStream(ByteStream(response, Reader(str(url), Secrets(), strict=False), url, 0.0))
    follower = Follower(RunRequests(Session("http://localhost/v1")._transport, "the run"), None)
    events: list[Model] = []
    while (frames := await stream.next_frames(follower)) is not None:
        events += payloads_in(frames, stream)
    names = [type(event).__name__ for event in events] + ["done"] * stream.done
    assert names == expected["events"].split()
    assert "".join(event.text for event in events if isinstance(event, MessageDelta)) == json.loads(expected["text"])
    assert listed(logged) == sorted(filter(None, expected["odd"].split("; ")))
    transcript = Transcript()
    for event in events:
        match event:
            case Message():
                transcript.change_message(event, "")
            case MessageDelta():
                transcript.add_message_delta(event)
            case RunStep():
                transcript.change_step(event, "")
            case RunStepDelta():
                transcript.add_step_delta(event)
        assert len(transcript.messages) <= 2
        assert len(transcript.steps) <= 1
    assert transcript.messages[0].text == json.loads(expected["text"])
