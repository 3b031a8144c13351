"""What a model is writing, as pages show it: whole for a page that is made, in pieces for one that is open. No I/O."""

from collections.abc import Sequence
from typing import Any

from attrs import define, evolve, field

from openai_runs.engine import Writing
from openai_runs.models.message import Content, Message, MessageStatus, RefusalContent, Text, TextContent
from openai_runs.models.run_step import CalledFunction, FunctionStepCall, RunStep, ToolCalls
from openai_runs.models.texts import REFUSED
from openai_runs.server.console.views import MOST_CALLS, MOST_OF_PAGE, MOST_OF_TEXT, visible


def written_message(message: Message, writing: Sequence[Writing]) -> Message:
    """A message with what is written of it; one that is complete has it."""
    content = tuple(_part(each) for each in writing if each.object_id == message.id)
    return evolve(message, content=content) if content and message.status == MessageStatus.IN_PROGRESS else message


def _part(part: Writing) -> Content:
    text = "".join(part.pieces)
    return RefusalContent(refusal=text) if part.kind == "refusal" else TextContent(text=Text(value=text))


def written_step(step: RunStep, writing: Sequence[Writing]) -> RunStep:
    """A step with what is written of its calls; once they are complete, it has them."""
    calls = tuple(_call(each) for each in writing if each.object_id == step.id)
    return evolve(step, step_details=ToolCalls(tool_calls=calls)) if calls and not step.tool_calls else step


def _call(call: Writing) -> FunctionStepCall:
    return FunctionStepCall(
        id=call.call_id, function=CalledFunction(name=call.name, arguments="".join(call.pieces), output=None)
    )


@define
class _Told:
    pieces: int = 0
    characters: int = 0
    is_cut: bool = False


@define(eq=False)
class WrittenPieces:
    """What an open page has not been told yet of the texts that are being written.

    It keeps counts only: the texts are the engine's. So a page that reads slowly costs no memory.
    """

    _told: dict[str, _Told] = field(factory=dict, init=False)  # of the texts that are being written

    def new(self, writing: Sequence[Writing]) -> list[dict[str, Any]]:
        """What to tell of what is being written now.

        Returns:
            For each text that has grown, ``of``, which is what the page calls it; ``text``, to be added to it; and
            ``is_start``, whether it replaces all that the page has of it. Of a text, and of all together, the page is
            told as much as it would show.
        """
        told = self._told
        self._told = {name_of(each): told.get(name_of(each)) or _Told() for each in writing if each.index < MOST_CALLS}
        left = MOST_OF_PAGE - sum(each.characters for each in self._told.values())
        grown = []
        for each in writing:
            state = self._told.get(name_of(each))
            if state is None or state.is_cut or state.pieces == len(each.pieces):
                continue
            is_start = state.pieces == 0
            text = "".join(each.pieces[state.pieces :])
            if is_start and each.kind == "refusal":
                text = REFUSED + text
            most = min(left, MOST_OF_TEXT - state.characters)
            state.pieces, state.is_cut = len(each.pieces), len(text) > most
            text = text[:most]
            state.characters += len(text)
            left -= len(text)
            shown = visible(text) + ("…" if state.is_cut else "")
            grown.append({"of": name_of(each), "text": shown, "is_start": is_start})
        return grown


def name_of(text: Writing) -> str:
    """What a page calls a text that is being written: the attribute ``data-written`` of what shows it."""
    return f"{text.object_id}-{text.index}"
