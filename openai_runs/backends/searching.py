"""`SearchingBackend`: file search for the model of any other backend, in the vector stores of this machine.

The model is offered a function in place of the tool ``file_search``. Its calls never reach the client: they are carried
out here, become run steps, and the model is called again with what was found, until it answers or calls a function of
the user. If it calls both in one round, the search comes first, and its result is told with the function's output.
"""

import logging
import secrets
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import AsyncExitStack, aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self, TypedDict

import anyio

from openai_runs._evolving import evolve
from openai_runs.backends import search_prompt
from openai_runs.backends.adaptations import FAILURES
from openai_runs.backends.capabilities import refused_choice
from openai_runs.backends.live import is_prompt_too_long
from openai_runs.backends.model_backend import (
    BackendEvent,
    Detached,
    Finished,
    HostedToolCall,
    ModelBackend,
    ModelRequest,
    Unsupported,
)
from openai_runs.backends.search_prompt import FoundChunk
from openai_runs.backends.search_rounds import ModelCall, SearchRounds
from openai_runs.errors import BackendError, StoreError
from openai_runs.models.run_step import FileSearchCall
from openai_runs.models.tool import FileSearchTool

if TYPE_CHECKING:  # loaded only by who uses it
    from openai_runs.telemetry import Telemetry

_logger = logging.getLogger("openai_runs.backends")

_DEFAULT_RESULTS: Final = 20  # chunks, as in the hosted API
_LEAST_ROOM: Final = 200  # tokens of what was found, below which a prompt that is too long is so for other reasons


class Ranking(TypedDict, total=False):
    """The API's ``ranking_options``."""

    ranker: str
    score_threshold: float | None


class FileSearcher(Protocol):
    """Finds chunks of files, such as `openai_runs.file_search.local_file_search.LocalFileSearch`."""

    async def search(
        self,
        store_ids: Sequence[str],
        query: str | Sequence[str],
        /,
        *,
        limit: int,
        ranking_options: Ranking | None,
        max_tokens: int | None,
    ) -> Sequence[FoundChunk]:
        """Find chunks, the best first.

        Args:
            store_ids: The vector stores.
            query: What is searched for; of several, the one that fits a chunk best counts.
            limit: How many chunks at most.
            ranking_options: Those of the tool.
            max_tokens: How many tokens all chunks may have together.

        Raises:
            StoreError: The search has failed.
        """
        ...


class SearchingBackend(ModelBackend):
    """A model that searches files here: the model of another backend, and a search.

    ``SearchingBackend(ChatCompletionsBackend(url), files)``, with the `LocalFileSearch` ``files``, which is opened and
    closed by whoever has made it.
    """

    def __init__(
        self,
        backend: ModelBackend,
        files: FileSearcher,
        *,
        search_first: bool = False,
        result_tokens: int = 16_000,
        max_searches: int = 10,
    ) -> None:
        """Configure the backend; the engine opens it.

        Args:
            backend: Calls the model.
            files: Where is searched.
            search_first: For weak models: search for the user's message before the model is called, and cite the best
                source if the model cites none.
            result_tokens: How many tokens all that a run finds may have in a prompt, as estimated. If that is too long
                for the model, it gets half of it, and so on, until it is called the next time after tool outputs.
            max_searches: How often a run may search. After that the model has to answer.
        """
        self._backend = backend
        self.completion_windows: Collection[str] = backend.completion_windows
        self.has_files: bool = backend.has_files
        self.provider: str = backend.provider
        self._files = files
        self._search_first = search_first
        self._result_tokens = result_tokens
        self._max_searches = max_searches
        self._open = AsyncExitStack()

    def observe(self, telemetry: "Telemetry") -> None:
        """Record the requests to the other backend's endpoint."""
        self._backend.observe(telemetry)

    async def __aenter__(self) -> Self:
        await self._open.enter_async_context(self._backend)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Close the other backend."""
        await self._open.aclose()

    def refuse(self, request: ModelRequest) -> Unsupported | None:
        """Name what the other backend does not support of a run, apart from file search."""
        if (refusal := refused_choice(request, type(self).__name__)) is not None:
            return refusal
        if search_prompt.is_involved(request):
            request = search_prompt.with_function(request, search_prompt.function_name(request))
        return self._backend.refuse(request)

    async def abandon(self, handle: str) -> None:
        """Stop a call that goes on at the endpoint."""
        _, inner = _parted(handle)
        await self._backend.abandon(inner)

    def respond(self, request: ModelRequest) -> AsyncGenerator[BackendEvent]:
        """Call the model, as often as it searches.

        Raises:
            BackendError: There is no complete response, or the search has failed.
        """
        return self._with_searches(request) if search_prompt.is_involved(request) else self._passed_on(request)

    async def _with_searches(self, request: ModelRequest) -> AsyncGenerator[BackendEvent]:
        tool = search_prompt.search_tool(request)
        began_at = anyio.current_time()
        rounds = SearchRounds(request, self._max_searches if tool else 0, self._result_tokens)
        rounds.handle = await self._resumed(request.handle)
        if tool and self._search_first and (query := rounds.first_query()):
            call = await self._found(request, tool, _new_id(), [query])
            rounds.add_call(call)
            yield HostedToolCall(call)
        while True:
            if (reason := rounds.used_up()) is not None:
                yield Finished(reason)
                return
            answer = ModelCall(rounds)
            async with aclosing(self._ask(answer, began_at)) as events:
                async for event in events:
                    yield event
            if not answer.searches:
                break
            async with aclosing(self._carried_out(answer, tool)) as events:
                async for event in events:
                    yield event
            if answer.function_calls:
                break
        for event in answer.end(cites_best=self._search_first):
            yield event

    async def _passed_on(self, request: ModelRequest) -> AsyncGenerator[BackendEvent]:
        """Call the model of a run that has nothing to do with files, as if we were not there."""
        if request.handle is not None:
            request = evolve(request, handle=await self._resumed(request.handle))
        async with aclosing(self._backend.respond(request)) as events:
            async for event in events:
                yield Detached(f"0:{event.handle}") if isinstance(event, Detached) else event

    async def _ask(self, answer: ModelCall, began_at: float) -> AsyncGenerator[BackendEvent]:
        """Call the model once; the events that go on to the engine at once."""
        rounds = answer.rounds
        while True:
            asked = rounds.next_request(anyio.current_time() - began_at)
            try:
                async with aclosing(self._backend.respond(asked)) as events:
                    async for event in events:
                        for each in answer.read(event):
                            yield each
                rounds.end_model_call(answer.usage)
                return
            except BackendError as error:
                cause = error.__cause__
                is_too_long = isinstance(cause, FAILURES) and is_prompt_too_long(cause)
                if answer.has_begun or not is_too_long or rounds.shown_tokens < _LEAST_ROOM:
                    raise
                rounds.room = rounds.shown_tokens // 2
                _logger.warning(
                    "run %s: the model gets %d tokens of what was found: more do not fit",
                    rounds.request.run_id,
                    rounds.room,
                )

    async def _carried_out(self, answer: ModelCall, tool: FileSearchTool | None) -> AsyncGenerator[BackendEvent]:
        """Carry out the searches of a model call."""
        rounds, request = answer.rounds, answer.rounds.request
        for event in answer.rest_of_text():
            yield event
        if tool is None or rounds.searches_left <= 0:
            message = f"The model has searched {rounds.searches} times, and has not answered."
            raise BackendError("server_error", message)
        for id, arguments in answer.searches[: rounds.searches_left]:
            queries = search_prompt.queries_of(arguments) or [search_prompt.asked(request.items)]
            call = await self._found(request, tool, rounds.unused(id) or _new_id(), queries)
            replay = answer.take_replay()
            if replay is not None:
                yield replay
            rounds.add_call(call, replay)
            yield HostedToolCall(call)

    async def _found(
        self, request: ModelRequest, tool: FileSearchTool, id: str, queries: Sequence[str]
    ) -> FileSearchCall:
        options = tool.file_search
        ranking = options and options.ranking_options
        try:
            found = await self._files.search(
                search_prompt.store_ids(request),
                [query for query in queries if query],
                limit=(options and options.max_num_results) or _DEFAULT_RESULTS,
                ranking_options=Ranking(score_threshold=ranking.score_threshold) if ranking else None,
                max_tokens=self._result_tokens,
            )
        except (OSError, StoreError) as error:
            _logger.warning("run %s: the vector stores cannot be searched: %s", request.run_id, error)
            # What concerns a file names it, which is not for clients.
            why = "the server's log says why." if isinstance(error, OSError) else str(error)
            raise BackendError("server_error", f"The vector stores cannot be searched: {why}") from error
        _logger.debug("run %s: %d chunks found", request.run_id, len(found))
        return search_prompt.search_call(id, queries, tool, found)

    async def _resumed(self, handle: str | None) -> str | None:
        """The handle of a call that goes on at the endpoint, if it is the run's first since the last tool outputs.

        What led to a later one is not known any more: its searches are made again.
        """
        if handle is None:
            return None
        position, inner = _parted(handle)
        if position == 0:
            return inner
        await self._backend.abandon(inner)
        return None


def _parted(handle: str) -> tuple[int, str]:
    """Which of our model calls a handle is of, from 0 on, and the other backend's handle."""
    position, colon, inner = handle.partition(":")
    # One without a number was stored when the other backend was used without this one.
    return (int(position), inner) if colon and position.isdecimal() else (0, handle)


def _new_id() -> str:
    return f"call_{secrets.token_hex(12)}"
