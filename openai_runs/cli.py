"""The command line: what the library can do, in readable output. It has no logic of its own."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import anyio
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from openai_runs import __version__
from openai_runs.errors import OpenAIRunsError
from openai_runs.session import Session

if TYPE_CHECKING:
    from openai_runs.backends.model_backend import ModelBackend
    from openai_runs.stores.sqlite import SQLiteStore

app: Final = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # some releases of typer show local variables, and with them keys
)
runs_app: Final = typer.Typer(no_args_is_help=True, help="Runs in the store of a server that is not running.")
app.add_typer(runs_app, name="runs")
console: Final = Console(highlight=False, soft_wrap=True)
errors: Final = Console(stderr=True, highlight=False, soft_wrap=True)


class Backend(StrEnum):
    """What may answer for the model."""

    SCRIPTED = "scripted"
    RESPONSES = "responses"
    CHAT = "chat"
    LOCAL = "local"


class EndAs(StrEnum):
    """How a run may be ended by hand."""

    FAILED = "failed"
    CANCELLED = "cancelled"


class MaxTokens(StrEnum):
    """What a chat endpoint may call the limit of an answer."""

    NEW = "max_completion_tokens"
    OLD = "max_tokens"


BaseUrl = Annotated[
    str | None, typer.Option(envvar="OPENAI_BASE_URL", help="The endpoint. Its key comes from OPENAI_API_KEY.")
]


def main() -> None:
    """Run the command line."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        console.print(f"openai-runs {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Runs of the Assistants API, wherever they execute."""


@app.command()
def demo(
    base_url: BaseUrl = None,
    model: Annotated[str, typer.Option(help="The model to ask for.")] = "gpt-4o-mini",
) -> None:
    """Live through a run with a tool call: on a server inside this process, or at an endpoint."""
    _run(_demo(base_url, model))


async def _demo(base_url: str | None, model: str) -> None:
    from openai_runs.demo import story

    async with AsyncExitStack() as stack:
        if base_url is None:
            from openai_runs.server import LocalServer

            server = await stack.enter_async_context(LocalServer())
            console.print(f"[dim]no endpoint given: running on {server.url}, with a scripted model[/]")
            session = await stack.enter_async_context(server.session())
        else:
            session = await stack.enter_async_context(Session(base_url))
        async for what, it in story(session, model=model):
            console.print(f"[bold]{what:24}[/] {escape(str(it))}")


@app.command()
def follow(thread_id: str, run_id: str, base_url: BaseUrl = None) -> None:
    """Follow a run that was started anywhere, to its end."""
    _run(_follow(thread_id, run_id, base_url))


async def _follow(thread_id: str, run_id: str, base_url: str | None) -> None:
    async with Session(base_url) as session:
        async for event in session.runs.follow(thread_id=thread_id, run_id=run_id):
            console.print(f"[bold]{type(event).__name__:24}[/] {escape(str(event.run))}")


@app.command()
def serve(
    store: Annotated[Path, typer.Option(help="The SQLite file that keeps everything; made if it is not there.")] = Path(
        "runs.db"
    ),
    backend: Annotated[Backend, typer.Option(help="What answers for the model.")] = Backend.SCRIPTED,
    model_url: Annotated[
        str | None, typer.Option(help="The base URL of the model's endpoint, for responses and chat.")
    ] = None,
    model_key_env: Annotated[
        str | None, typer.Option(help="The environment variable with the key of the model's endpoint. Unset: no key.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="ASSISTANT'S=ENDPOINT'S name of a model, any number of times; * stands for all others.",
            metavar="NAME=NAME",
        ),
    ] = None,
    background: Annotated[bool, typer.Option(help="Responses go on at the endpoint if this server dies.")] = False,
    max_tokens_field: Annotated[
        MaxTokens, typer.Option(help="What a chat endpoint calls the limit; Ollama and older ones: max_tokens.")
    ] = MaxTokens.NEW,
    host: Annotated[str, typer.Option(help="The address to listen on. Beyond loopback, keys are required.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 takes a free one.")] = 8080,
    keys_file: Annotated[
        Path | None,
        typer.Option(help="Bearer keys, one a line, each perhaps followed by its owner's label.", dir_okay=False),
    ] = None,
    expires_after: Annotated[float, typer.Option(min=1, help="Seconds that a run has, waiting for tools included.")] = (
        600.0
    ),
    max_active_runs: Annotated[int, typer.Option(min=1, help="How many runs execute at once; others queue.")] = 128,
    access_log: Annotated[bool, typer.Option(help="Write a line a request.")] = True,
) -> None:
    """Serve the Assistants API, for any language's Assistants client; Ctrl-C or SIGTERM stops it.

    Every run survives a restart. Keys may also come from the environment, in OPENAI_RUNS_KEYS, one a line.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("aiosqlite").setLevel(logging.WARNING)
    logging.getLogger("stamina").setLevel(logging.ERROR)  # who repeats something says so, and why
    keys = _keys(keys_file)
    model_key = os.environ.get(model_key_env) if model_key_env is not None else None
    if model_key_env is not None and not model_key:
        raise typer.BadParameter(f"--model-key-env: there is no {model_key_env} in the environment")
    model_backend = _backend(backend, model_url, model_key, model or [], max_tokens_field, background=background)
    _allow_connections()
    gc.set_threshold(50_000, 20, 50)  # a server makes hardly any cycles, and spent a fifth of its time on the search
    _run(_serve(store, model_backend, host, port, keys, expires_after, max_active_runs, access_log))


def _keys(file: Path | None) -> dict[str, str] | None:
    from openai_runs.server.keys import read_keys

    try:
        text = os.environ.get("OPENAI_RUNS_KEYS") if file is None else file.read_text("utf-8-sig")
        return None if text is None else read_keys(text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"the keys cannot be read: {error}") from None


def _allow_connections() -> None:
    """Have as many open files as this process is allowed: a connection is one, and often only 1,024 are the default."""
    with suppress(ImportError, OSError, ValueError):  # Windows has no such limit, macOS may refuse the one it names
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _backend(
    kind: Backend, url: str | None, key: str | None, models: list[str], max_tokens: MaxTokens, *, background: bool
) -> "ModelBackend":
    from openai_runs.backends import ChatCompletionsBackend, LocalModelBackend, ResponsesBackend, ScriptedBackend

    _refuse_unused(kind, url, key, models, max_tokens, background=background)
    if kind is Backend.SCRIPTED:
        return ScriptedBackend()
    try:
        if kind is Backend.LOCAL:
            return LocalModelBackend()
        if url is None:
            raise typer.BadParameter(f"--backend {kind} needs --model-url, the base URL of the model's endpoint")
        pairs = [pair.partition("=") for pair in models]
        if not all(name and equals and endpoints_name for name, equals, endpoints_name in pairs):
            raise typer.BadParameter("--model takes NAME=NAME, such as gpt-4o=llama3.2")
        names = {name: endpoints_name for name, _, endpoints_name in pairs}
        if kind is Backend.RESPONSES:
            return ResponsesBackend(url, key, models=names, background=background)
        return ChatCompletionsBackend(url, key, models=names, max_tokens_field=max_tokens.value)
    except (ImportError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None


def _refuse_unused(
    kind: Backend, url: str | None, key: str | None, models: list[str], max_tokens: MaxTokens, *, background: bool
) -> None:
    """A server that passed over them would answer from another model than was meant, or under other terms."""
    endpoints, chat, responses = [Backend.RESPONSES, Backend.CHAT], [Backend.CHAT], [Backend.RESPONSES]
    for option, is_given, kinds in (
        ("--model-url", url is not None, endpoints),
        ("--model-key-env", key is not None, endpoints),
        ("--model", bool(models), endpoints),
        ("--max-tokens-field", max_tokens is not MaxTokens.NEW, chat),
        ("--background", background, responses),
    ):
        if is_given and kind not in kinds:
            raise typer.BadParameter(f"{option} is for --backend {' or '.join(kinds)}: got {kind}")


async def _serve(
    path: Path,
    backend: "ModelBackend",
    host: str,
    port: int,
    keys: dict[str, str] | None,
    expires_after: float,
    max_active_runs: int,
    access_log: bool,
) -> None:
    from openai_runs.server import LocalServer
    from openai_runs.stores.sqlite import SQLiteStore

    server = LocalServer(
        backend=backend,
        store=SQLiteStore(path),
        host=host,
        port=port,
        keys=keys,
        expires_after=expires_after,
        max_active_runs=max_active_runs,
        log_access=access_log,
    )
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with server:
            console.print(f"serving {server.url}, store {path}, {type(backend).__name__}; Ctrl-C stops")
            async for _ in signals:
                break
            console.print("stopping; runs go on at the next start")


STORE = Annotated[Path, typer.Option(help="The SQLite file of a server that is not running.", dir_okay=False)]
OWNER = Annotated[str, typer.Option(help="The label of the key whose objects these are; empty if there are no keys.")]


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="JSON or JSON lines: the API's objects, or lists of them.")],
    store: STORE = Path("runs.db"),
    owner: OWNER = "",
) -> None:
    """Bring saved assistants, threads, messages, runs and steps into a store, with their IDs and times.

    What is there already stays as it is, so importing twice changes nothing. Unfinished runs become expired: nobody is
    left to finish them. A line that cannot be read is named, and the rest goes on.
    """
    _run(_import(files, store, owner))


async def _import(files: list[Path], path: Path, owner: str) -> None:
    from openai_runs.stores.import_export import ImportReport, import_objects, parse

    report = ImportReport()
    objects = [item for file in files for item in parse(str(file), file.read_bytes(), report)]
    async with _opened(path) as store:
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("importing", total=len(objects))
            async for looked_at in import_objects(store, objects, report, owner=owner):
                progress.advance(task, looked_at)
    for problem in report.problems:
        errors.print(f"[red]{escape(problem)}[/]")
    console.print(f"added: {', '.join(f'{count} {what}' for what, count in report.added.items())}")
    console.print(f"there already: {report.there_already}; unfinished runs, now expired: {report.ended}")
    if report.problems:
        raise typer.Exit(1)


@app.command()
def export(
    store: STORE = Path("runs.db"),
    owner: OWNER = "",
    output: Annotated[
        Path | None, typer.Option(help="The file to write. Unset: standard output.", dir_okay=False)
    ] = None,
) -> None:
    """Write an owner's objects as JSON lines, which import reads."""
    _check_exists(store)
    _run(_export(store, owner, output))


async def _export(path: Path, owner: str, output: Path | None) -> None:
    from openai_runs.stores.import_export import export_objects

    async with _opened(path) as store:
        with output.open("wb") if output is not None else nullcontext(sys.stdout.buffer) as file:
            async for line in export_objects(store, owner=owner):
                file.write(line)


@runs_app.command()
def end(
    run_id: Annotated[str, typer.Argument(help="The run's ID.")],
    store: STORE = Path("runs.db"),
    status: Annotated[EndAs, typer.Option(help="What the run becomes.")] = EndAs.FAILED,
    reason: Annotated[str, typer.Option(help="The message of a failed run's last_error.")] = (
        "The run was ended by the server's operator."
    ),
) -> None:
    """End an unfinished run by hand, with its steps and messages, so that no start takes it up again.

    It works with what can be read of the run: what is damaged is named, and left as it is.
    """
    _check_exists(store)
    logging.getLogger("openai_runs").addHandler(logging.NullHandler())  # what is damaged is told below, in a line each
    _run(_end(store, run_id, status, reason))


async def _end(path: Path, run_id: str, status: EndAs, reason: str) -> None:
    from openai_runs.engine.endings import end_by_hand
    from openai_runs.models.run import RunStatus

    async with _opened(path) as store:
        try:
            ending = await end_by_hand(store, run_id, RunStatus(status.value), reason)
        except LookupError:
            _refuse(
                f"there is no run {run_id} in {path}; `openai-runs export --store {path}` lists those that there are"
            )
    run = ending.run
    if ending.was_over:
        _refuse(f"run {run_id} has ended already, and stays as it is: {run.status}")
    console.print(f"run {run_id} of thread {escape(run.thread_id)} is {run.status} now; its thread can have other runs")
    for what in ending.left:
        errors.print(f"[yellow]left as it is: {escape(what)}[/]")
    if ending.handle is not None:
        console.print(f"its model call may go on at the endpoint, as {escape(ending.handle)}")


def _check_exists(store: Path) -> None:
    if not store.exists():
        raise typer.BadParameter(f"there is no store {store}")


@asynccontextmanager
async def _opened(path: Path) -> "AsyncGenerator[SQLiteStore]":
    from openai_runs.stores.sqlite import SQLiteStore

    async with SQLiteStore(path) as store:
        yield store


def _refuse(text: str) -> NoReturn:
    errors.print(f"[red]{escape(text)}[/]")
    raise typer.Exit(1)


def _run(work: Coroutine[Any, Any, None]) -> None:
    try:
        asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except (OpenAIRunsError, OSError, ValueError) as error:
        _refuse(str(error))
