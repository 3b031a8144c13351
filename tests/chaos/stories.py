"""Runs whose course is known beforehand, by the name of their job."""

import random
from collections import Counter
from functools import cache

import anyio.lowlevel
from attrs import field, frozen

from openai_runs.backends.model_backend import ModelRequest
from openai_runs.backends.scripted import Call, Fail, Say, ScriptedBackend, Stop, Turn
from openai_runs.models.message import Message
from openai_runs.toolbox import Toolbox

_WORDS = (
    "sun",
    "naïve",
    "日本",
    "🙂",
    "a\nb",
    "data: x",
    "event: done\n\n",
    "[DONE]",
    "two\u2028lines",
    '"}',
    "\\u0000",
    "€",
)


@frozen
class Story:
    """The turns of a run's model, and what must come of it."""

    turns: tuple[Turn, ...]
    texts: tuple[str, ...]  #: of its messages
    calls: tuple[str, ...]  #: the keys that it looks up
    status: str  #: in which it ends


@cache
def story(job: str) -> Story:
    chance = random.Random(job)
    turns: list[Turn] = []
    texts: list[str] = []
    calls: list[str] = []

    def text() -> list[Say]:
        texts.append(" ".join(chance.choices(_WORDS, k=chance.randrange(1, 60))))
        return [Say(texts[-1])]

    for number in range(chance.choice((0, 1, 1, 2, 3))):
        keys = [f"{job}/{number}/{index}" for index in range(chance.choice((1, 1, 2, 3)))]
        calls += keys
        turns.append([*(text() if chance.random() < 0.4 else ()), *(Call("look_up", {"key": key}) for key in keys)])
    end = chance.choice(("completed",) * 6 + ("failed", "incomplete"))
    bad_end = {"completed": [], "failed": [Fail()], "incomplete": [Stop("max_tokens")]}[end]
    turns.append([*text(), *bad_end])
    return Story(tuple(turns), tuple(texts), tuple(calls), end)


def turn(request: ModelRequest) -> Turn:
    """The turn that a request asks for, in the story that its first message names."""
    job = next(item.text for item in request.items if isinstance(item, Message))
    return story(job).turns[len(request.rounds)]


def backend() -> ScriptedBackend:
    return ScriptedBackend(turn)


@frozen
class CountingTools:
    """A toolbox that counts how often it looked each key up."""

    calls: Counter[str] = field(factory=Counter)

    def toolbox(self) -> Toolbox:
        toolbox = Toolbox(on_error="raise")

        @toolbox.tool
        async def look_up(key: str) -> str:
            """Look a key up."""
            self.calls[key] += 1
            await anyio.lowlevel.checkpoint()
            return f"found {key}"

        return toolbox
