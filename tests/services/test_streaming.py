"""Streams: the same story as polling's, and what is written, over connections that break anywhere."""

import random
from collections.abc import AsyncIterator, Sequence
from itertools import chain, repeat
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_runs.errors import (
    BadRequestError,
    ProtocolError,
    ResponseError,
    RunActionRequiredError,
    RunDeadlineError,
    RunFailedError,
    TransportError,
)
from openai_runs.events import (
    ActionRequired,
    MessageChanged,
    PollingTookOver,
    RunEnded,
    StatusChanged,
    StepChanged,
    ThreadCreated,
    ToolOutputsSubmitted,
    UnknownEvent,
)
from openai_runs.models.delta import MessageDelta, RunStepDelta
from openai_runs.toolbox import Toolbox
from tests.samples import EXAMPLES
from tests.services.conftest import QUICK
from tests.services.story import DONE, Story, framed, leg, run, stream
from tests.stub import Reply, Stub, error, reply

pytestmark = pytest.mark.anyio


class Counting(Toolbox):
    """Counts the calls."""

    def __init__(self) -> None:
        super().__init__(on_error="raise")
        self.calls = 0

        @self.tool
        async def f() -> str:
            self.calls += 1
            return str(self.calls)


def told(events: Sequence[Any]) -> list[Any]:
    """What the status events say."""
    return [
        (type(event), event.previous, event.status, [call.id for call in event.run.pending_tool_calls])
        for event in events
        if isinstance(event, StatusChanged)
    ]


def text_of(events: Sequence[Any]) -> dict[str, str]:
    """The text of each message, from its deltas."""
    texts: dict[str, str] = {}
    for event in events:
        if isinstance(event, MessageDelta) and event.text:
            texts[event.id] = texts.get(event.id, "") + event.text
    return texts


_texts = st.lists(st.text(max_size=8), max_size=12)
_rounds = st.tuples(
    st.lists(st.tuples(_texts, st.integers(1, 3)), max_size=3),
    _texts,
    st.sampled_from(["completed", "failed", "expired"]),
)
_cuts = st.lists(st.none() | st.floats(0, 1, exclude_max=True), max_size=20)


def legs_of(rounds: Any) -> list[Any]:
    (*tool_rounds,) = rounds[0]
    legs = [leg(n, texts, [f"call_{n}_{i}" for i in range(calls)]) for n, (texts, calls) in enumerate(tool_rounds)]
    return [*legs, leg(len(legs), rounds[1], [], rounds[2])]


async def polled(legs: Any) -> list[Any]:
    toolbox = Counting()
    async with Stub(Story(legs)) as stub, stub.session() as session:
        run = await session.runs.create("thread_1", assistant_id="asst_1")
        return [event async for event in session.runs.follow(run, toolbox=toolbox, polling=QUICK)]


@given(_rounds, _cuts, st.booleans())
async def test_the_same_as_polling(rounds: Any, cuts: Any, chunked: bool) -> None:
    """Whatever breaks, a stream tells the status events that polling tells, all text once, and calls each tool once."""
    legs = legs_of(rounds)
    toolbox = Counting()
    story = Story(legs, iter(cuts), chunked=chunked)
    async with Stub(story) as stub, stub.session() as session:
        async with session.runs.stream("thread_1", assistant_id="asst_1", toolbox=toolbox, polling=QUICK) as events:
            seen = [event async for event in events]
        assert told(seen) == told(await polled(legs))
        texts = [*[texts for texts, _ in rounds[0]], rounds[1]]
        written = {f"msg_{number}": "".join(pieces) for number, pieces in enumerate(texts) if pieces}
        assert text_of(seen) == {id: text for id, text in written.items() if text}
        assert {message.id: message.text for message in events.messages} == written
        assert toolbox.calls == sum(calls for _, calls in rounds[0])
        finished = [
            event.name for event in seen if isinstance(event, MessageChanged) if event.message.status == "completed"
        ]
        assert len(finished) == len(written)
