"""The command `openai-runs chat`."""

import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Final

import anyio
import typer
from attrs import define, field
from rich.markup import escape

from openai_runs.cli.endpoint_option import BaseUrl
from openai_runs.cli.lines import lines
from openai_runs.cli.showing import event_line, now, timeline
from openai_runs.cli.store_options import check_folder
from openai_runs.cli.terminal import console, errors, run
from openai_runs.cli.toolbox_option import Tools, load_toolbox
from openai_runs.errors import OpenAIRunsError
from openai_runs.events import ActionRequired, PollingTookOver, RunEnded, ToolOutputsSubmitted
from openai_runs.following.options import FollowOptions
from openai_runs.models.delta import MessageDelta
from openai_runs.models.run import Run, RunStatus
from openai_runs.session import Session
from openai_runs.toolbox import Toolbox

_HELP: Final = "/steps shows what the last run did, /new begins another thread, /quit leaves; Ctrl-C cancels a run"


def chat(
    model: Annotated[str, typer.Option(help="The model.")] = "gpt-4o-mini",
    instructions: Annotated[str, typer.Option(help="What the assistant is told.")] = "",
    assistant: Annotated[
        str | None, typer.Option(help="The ID of an assistant that exists; unset: one is made, and deleted at the end.")
    ] = None,
    thread: Annotated[str | None, typer.Option(help="The ID of a thread to go on with; unset: a new one.")] = None,
    tools: Tools = None,
    base_url: BaseUrl = None,
    model_url: Annotated[
        str | None,
        typer.Option(help="Without --base-url: a Chat Completions endpoint, such as http://127.0.0.1:11434/v1."),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(help="Without --base-url: the SQLite file that keeps threads and runs; unset: none is kept."),
    ] = None,
) -> None:
    """Talk to an assistant, at an endpoint or on a server in this process; its words and tool calls show as they come.

    Lines that come from a file or a pipe are sent one after the other, and the exit code is 1 if any has no answer.
    """
    if base_url is not None and (model_url is not None or store is not None):
        raise typer.BadParameter("--model-url and --store are for a server in this process: leave out --base-url")
    if store is not None:
        check_folder(store)
    toolbox = None if tools is None else load_toolbox(tools)
    run(_chat(model, instructions, assistant, thread, toolbox, base_url, model_url, store))


@asynccontextmanager
async def _opened(base_url: str | None, model_url: str | None, store: Path | None) -> AsyncIterator[Session]:
    if base_url is not None:
        async with Session(base_url) as session:
            yield session
        return
    from openai_runs.backends import ChatCompletionsBackend, ScriptedBackend
    from openai_runs.server import LocalServer
    from openai_runs.stores import MemoryStore
    from openai_runs.stores.sqlite import SQLiteStore

    if model_url is None:
        errors.print(
            "[bold yellow]No model is asked: a script makes up every answer.[/] Pass --model-url for a real one."
        )
    backend = ScriptedBackend() if model_url is None else ChatCompletionsBackend(model_url)
    kept = MemoryStore() if store is None else SQLiteStore(store)
    async with LocalServer(backend=backend, store=kept) as server, server.session() as session:
        yield session


async def _chat(
    model: str,
    instructions: str,
    assistant_id: str | None,
    thread_id: str | None,
    toolbox: Toolbox | None,
    base_url: str | None,
    model_url: str | None,
    store: Path | None,
) -> None:
    async with _opened(base_url, model_url, store) as session, AsyncExitStack() as stack:
        if assistant_id is None:
            made = await session.assistants.create(
                model=model, instructions=instructions, tools=() if toolbox is None else toolbox
            )
            assistant_id = made.id
            stack.push_async_callback(session.assistants.delete, made.id)
        conversation = Conversation(session, assistant_id, toolbox, thread_id)
        with anyio.open_signal_receiver(signal.SIGINT) as signals:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(conversation.cancel_at, signals, tasks.cancel_scope)
                async with aclosing(lines()) as said:
                    await conversation.hold(said)
                tasks.cancel_scope.cancel()
    if conversation.unanswered and not sys.stdin.isatty():  # at a terminal, somebody has read why
        raise typer.Exit(1)


@define
class Conversation:
    """What is said in one thread after the other."""

    _session: Session
    _assistant_id: str
    _toolbox: Toolbox | None
    _thread_id: str | None
    _run: Run | None = field(default=None, init=False)  # the last one
    #: Whether there was a question that no completed run has answered, other than by Ctrl-C.
    unanswered: bool = field(default=False, init=False)
    _turn: anyio.CancelScope | None = field(default=None, init=False)  # of a run that is in progress

    async def hold(self, said: AsyncGenerator[str, None]) -> None:
        """Answer each line, until the last one or ``/quit``."""
        self._prompt(f"[dim]{_HELP}[/]\n")
        async for line in said:
            match line.strip():
                case "":
                    pass
                case "/quit":
                    return
                case "/new":
                    self._thread_id = self._run = None
                case "/steps":
                    await self._show_steps()
                case command if command.startswith("/"):
                    console.print(f"[dim]{_HELP}[/]")
                case text:
                    try:
                        await self._answer(text)
                    except OpenAIRunsError as error:  # such as a run that is still being cancelled: one may try again
                        errors.print(f"[red]{escape(str(error))}[/]")
                        self.unanswered = True
            self._prompt()

    async def cancel_at(self, signals: AsyncIterator[signal.Signals], program: anyio.CancelScope) -> None:
        """Cancel the run at Ctrl-C, or leave if there is none."""
        async for _ in signals:
            (self._turn or program).cancel()

    def _prompt(self, before: str = "") -> None:
        if console.is_terminal:
            console.print(f"{before}[bold]>[/] ", end="")

    async def _answer(self, text: str) -> None:
        session = self._session
        if self._thread_id is None:
            self._thread_id = (await session.threads.create()).id
        await session.messages.create(self._thread_id, role="user", content=text)
        options: FollowOptions = {"on_exit": "cancel"}
        if self._toolbox is not None:
            options["toolbox"] = self._toolbox
        stream = session.runs.stream(self._thread_id, assistant_id=self._assistant_id, **options)
        with anyio.CancelScope() as turn, self._cancellable(turn):
            async with stream as events:
                async for event in events:
                    match event:
                        case MessageDelta(text=piece):
                            console.print(escape(piece), end="")
                        case ActionRequired() | ToolOutputsSubmitted() | PollingTookOver():
                            self._run = event.run
                            console.print(f"[dim]{event_line(event)}[/]")
                        case RunEnded(run=ended):
                            self._run = ended
                            completed = ended.status is RunStatus.COMPLETED
                            self.unanswered |= not completed
                            console.print("" if completed else f"\n{event_line(event)}")
            if self._toolbox is None and self._run is not None and self._run.status is RunStatus.REQUIRES_ACTION:
                errors.print("[magenta]it needs the outputs of tools: pass --tools[/]; the run is cancelled")
                self.unanswered = True
                await session.runs.cancel(self._run)
        if turn.cancelled_caught:
            console.print("\n[yellow]cancelled[/]")

    @contextmanager
    def _cancellable(self, turn: anyio.CancelScope) -> Iterator[None]:
        self._turn = turn
        try:
            yield
        finally:
            self._turn = None

    async def _show_steps(self) -> None:
        if self._run is None:
            console.print("[dim]there is no run yet[/]")
            return
        steps = [step async for step in self._session.run_steps.list(self._run, order="asc")]
        messages = self._session.messages.list(self._run.thread_id, run_id=self._run.id)
        texts = {message.id: message.text async for message in messages}
        for line in timeline(self._run, steps, texts, width=console.width, now=now()):
            console.print(line)
