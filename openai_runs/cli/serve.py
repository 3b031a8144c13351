"""`openai-runs serve`."""

import gc
import logging
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from openai_runs.cli.model_options import Backend, MaxTokens, make_backend
from openai_runs.cli.terminal import console, run

if TYPE_CHECKING:
    from openai_runs.backends import ModelBackend


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
    model_backend = make_backend(backend, model_url, model_key, model or [], max_tokens_field, background=background)
    _allow_connections()
    gc.set_threshold(50_000, 20, 50)  # a server makes hardly any cycles, and spent a fifth of its time on the search
    run(_serve(store, model_backend, host, port, keys, expires_after, max_active_runs, access_log))


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
