"""`SearchRounds`: what has happened in a model call with searches in it, and what the model is asked next. No I/O."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from attrs import define, field

from openai_runs._evolving import evolve
from openai_runs.backends import search_prompt
from openai_runs.backends.citations import CitationScanner
from openai_runs.backends.conversation import Item, estimated_tokens
from openai_runs.backends.model_backend import (
    BackendEvent,
    Detached,
    Finished,
    FinishReason,
    HostedToolCall,
    ModelRequest,
    RefusalChunk,
    Replay,
    TextChunk,
    ToolCallChunk,
    UsageReport,
)
from openai_runs.backends.replay import with_replay
from openai_runs.models.message import Message, MessageRole, Text, TextContent
from openai_runs.models.model import Unknown
from openai_runs.models.run_step import (
    CodeInterpreterCall,
    FileSearchCall,
    FileSearchResult,
    RunStep,
    RunStepStatus,
    ToolCalls,
)
from openai_runs.models.tool import NamedToolChoice

#: Of items that only the model sees.
_NO_TIME: Final = datetime.fromtimestamp(0, UTC)


@define
class SearchRounds:
    """One model call of the engine: several of the other backend, with searches in between."""

    request: ModelRequest
    _max_searches: int  #: 0 if the run does not search
    room: int  #: how many tokens all that was found may have in a prompt, as estimated
    name: str = field(init=False)  #: of the function
    handle: str | None = field(default=None, init=False)  #: of the next model call
    model_calls: int = field(default=0, init=False)
    usage: UsageReport = field(default=UsageReport(0, 0), init=False)  #: of the model calls that have ended
    sources: dict[tuple[int, int], FileSearchResult] = field(factory=dict, init=False)  #: what marks can cite
    scanner: CitationScanner = field(init=False)
    _items: list[Item] = field(init=False)
    _has_searched: bool = field(default=False, init=False)  # in this model call

    def __attrs_post_init__(self) -> None:
        self.name = search_prompt.function_name(self.request)
        self.scanner = CitationScanner(self.sources)
        self._items = list(self.request.items)
        for number, call in enumerate(search_prompt.searches_of(self._items, self.request.run_id)):
            self._add_sources(number, call)

    @property
    def is_searching(self) -> bool:
        """Whether the run has the tool, so that calls of the function are ours."""
        return self._max_searches > 0

    @property
    def searches(self) -> int:
        """How often the run has searched."""
        return len(search_prompt.searches_of(self._items, self.request.run_id))

    @property
    def searches_left(self) -> int:
        """How often it may still search."""
        return self._max_searches - self.searches

    @property
    def best_marks(self) -> Sequence[str]:
        """The mark of the best result so far; none if nothing was found."""
        best = sorted(self.sources.items(), key=lambda item: -item[1].score)[:1]
        return [search_prompt.mark_of(search, index, result) for (search, index), result in best]

    def first_query(self) -> str:
        """What to search for before the model is called; empty if it has been, or must not search."""
        if self.searches or self.request.tool_choice == "none":
            return ""
        return search_prompt.asked(self.request.items)

    def used_up(self) -> FinishReason | None:
        """Why no further model call is possible: which limit is reached."""
        prompt, completion = self._left()
        if prompt is not None and prompt <= 0:
            return "max_prompt_tokens"
        return "max_tokens" if completion is not None and completion <= 0 else None

    def _left(self) -> tuple[int | None, int | None]:
        prompt, completion = self.request.max_prompt_tokens, self.request.max_completion_tokens
        return (
            None if prompt is None else prompt - self.usage.prompt_tokens,
            None if completion is None else completion - self.usage.completion_tokens,
        )

    def next_request(self, seconds: float) -> ModelRequest:
        """What the model is asked next.

        Args:
            seconds: How long all of this has taken so far.
        """
        request, name = self.request, self.name
        prompt, completion = self._left()
        asked = evolve(
            request,
            items=search_prompt.told(self._items, request.run_id, name, self.room),
            instructions=search_prompt.instructions(request, name) if self.is_searching else request.instructions,
            max_prompt_tokens=prompt,
            max_completion_tokens=completion,
            seconds_left=request.seconds_left - seconds,
            handle=self.handle,
        )
        if self._has_searched and _is_met(request):
            asked = evolve(asked, tool_choice="auto")
        return search_prompt.with_function(asked, name, is_offered=self.searches_left > 0)

    @property
    def shown_tokens(self) -> int:
        """How many tokens of what was found the model gets, as estimated."""
        return min(self.room, sum(estimated_tokens(search_prompt.text_of(result)) for result in self.sources.values()))

    def unused(self, id: str | None) -> str | None:
        """The model's ID of a call, unless another call of the run has it: some models count from ``call_0``."""
        steps = (item for item in self._items if isinstance(item, RunStep) and item.run_id == self.request.run_id)
        used = {call.id for step in steps for call in step.tool_calls if not isinstance(call, Unknown)}
        return None if id in used else id

    def add_text(self, text: str) -> None:
        """Add a message that the model has written before it goes on."""
        if text:
            self._items.append(
                Message(
                    id=f"msg_{len(self._items)}",
                    created_at=_NO_TIME,
                    thread_id=self.request.thread_id,
                    role=MessageRole.ASSISTANT,
                    content=(TextContent(text=Text(value=text)),),
                    run_id=self.request.run_id,
                )
            )

    def add_call(self, call: FileSearchCall | CodeInterpreterCall, replay: Replay | None = None) -> None:
        """Add a call that has been carried out, and what the endpoint wants back with it."""
        if isinstance(call, FileSearchCall):
            self._add_sources(self.searches, call)
            self._has_searched = True
        step = RunStep(
            id=f"step_{len(self._items)}",
            created_at=_NO_TIME,
            thread_id=self.request.thread_id,
            run_id=self.request.run_id,
            type="tool_calls",
            status=RunStepStatus.COMPLETED,
            step_details=ToolCalls(tool_calls=(call,)),
        )
        self._items.append(with_replay(step, replay))

    def _add_sources(self, number: int, call: FileSearchCall) -> None:
        self.sources.update({(number, index): result for index, result in enumerate(call.file_search.results or ())})

    def end_model_call(self, usage: UsageReport) -> None:
        """Note that a call of the other backend has ended."""
        self.usage = _sum(self.usage, usage)
        self.handle = None
        self.model_calls += 1


def _is_met(request: ModelRequest) -> bool:
    """Whether a search is what the tool choice demands."""
    choice = request.tool_choice
    return choice == "required" or (isinstance(choice, NamedToolChoice) and choice.type == "file_search")


def _sum(one: UsageReport, other: UsageReport) -> UsageReport:
    return UsageReport(one.prompt_tokens + other.prompt_tokens, one.completion_tokens + other.completion_tokens)


@define
class ModelCall:
    """One call of the other backend: which of its events go on at once, and what is done at its end."""

    rounds: SearchRounds
    has_begun: bool = field(default=False, init=False)
    usage: UsageReport = field(default=UsageReport(0, 0), init=False)
    _text: list[str] = field(factory=list, init=False)
    _calls: dict[int, list[ToolCallChunk]] = field(
        factory=dict, init=False
    )  # held back until it is clear whose they are
    _replay: Replay | None = field(default=None, init=False)
    _reason: FinishReason = field(default="stop", init=False)

    def read(self, event: BackendEvent) -> list[BackendEvent]:
        """Read an event; those that go on."""
        self.has_begun = self.has_begun or not isinstance(event, Detached)
        scanner = self.rounds.scanner
        match event:
            case TextChunk(text):
                self._text.append(text)
                return scanner.feed(text)
            case RefusalChunk():
                return [*scanner.end_part(), event]
            case ToolCallChunk() if self.rounds.is_searching:
                self._calls.setdefault(event.index, []).append(event)
                return []
            case HostedToolCall(call):
                replay = self.take_replay()
                events = [*self.rest_of_text(), *([] if replay is None else [replay]), event]
                self.rounds.add_call(call, replay)
                return events
            case Replay():
                self._replay = event
                return []
            case UsageReport():
                self.usage = event
                return [_sum(self.rounds.usage, event)]
            case Detached(handle):
                return [Detached(f"{self.rounds.model_calls}:{handle}")]
            case Finished(reason):
                self._reason = reason
                return []
            case _:
                return [*scanner.flush(), event]

    def rest_of_text(self) -> list[BackendEvent]:
        """End the message, since a tool call comes: what is left to report of it."""
        self.rounds.add_text("".join(self._text))
        self._text.clear()
        return self.rounds.scanner.end_part()

    def take_replay(self) -> Replay | None:
        """What the endpoint wants back with the calls of this round, once."""
        replay, self._replay = self._replay, None
        return replay

    @property
    def searches(self) -> Sequence[tuple[str | None, str]]:
        """The searches to carry out: the model's ID of the call, and its arguments."""
        if self._reason not in ("stop", "tool_calls"):
            return []  # calls may be cut off
        return [
            (next((chunk.id for chunk in call if chunk.id), None), "".join(chunk.arguments for chunk in call))
            for call in self._made
            if self._is_search(call)
        ]

    @property
    def function_calls(self) -> Sequence[Sequence[ToolCallChunk]]:
        """The calls of the user's functions."""
        return [call for call in self._made if not self._is_search(call)]

    @property
    def _made(self) -> Sequence[Sequence[ToolCallChunk]]:
        """The calls that are made. Without parallel calls the others are dropped: the model can make them again."""
        calls = list(self._calls.values())
        return calls if self.rounds.request.parallel_tool_calls else calls[:1]

    def _is_search(self, call: Sequence[ToolCallChunk]) -> bool:
        return next((chunk.name for chunk in call if chunk.name), None) == self.rounds.name

    def end(self, *, cites_best: bool) -> Iterator[BackendEvent]:
        """The events at the end of the engine's model call.

        Args:
            cites_best: Whether to cite the best source if the model cites none.
        """
        rounds, calls, text = self.rounds, self.function_calls, "".join(self._text)
        is_answer = self._reason == "stop" and bool(text.strip()) and not calls
        if cites_best and is_answer and not rounds.scanner.has_cited and not search_prompt.expects_json(rounds.request):
            yield from rounds.scanner.feed("".join(f" {mark}" for mark in rounds.best_marks))
        yield from rounds.scanner.end_part()
        for call in calls:
            yield from call
        if self._replay is not None:
            yield self._replay
        yield Finished(self._reason)
