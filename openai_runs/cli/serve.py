"""The command `openai-runs serve`."""

import errno
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import typer

from openai_runs._postgres import is_postgres
from openai_runs.cli.audit_option import make_audit_log
from openai_runs.cli.config_option import misspelt_variables
from openai_runs.cli.file_options import Files, make_files, refuse_with_endpoint
from openai_runs.cli.key_options import LIMITS, RELOADING, keys_from, limits_from, reload_keys, retention_from
from openai_runs.cli.log_options import Format, Level, LogFormat, LogLevel, set_up_logging
from openai_runs.cli.model_options import Backend, EndpointOptions, MaxTokens, make_backend, make_pass_through
from openai_runs.cli.proxy_options import ProxyHeader, SaidIn, TrustedProxies
from openai_runs.cli.serve_log import log_draining, log_listening, log_stopped, log_stopping
from openai_runs.cli.settings_file import read_settings, settings_of
from openai_runs.cli.store_options import DEFAULT_FILES_FOLDER, FilesFolder, make_store, operator_file_of
from openai_runs.cli.terminal import console, refuse, run

if TYPE_CHECKING:
    from openai_runs.backends import ModelBackend
    from openai_runs.engine.limits import Limits
    from openai_runs.server import LocalServer, PassThrough
    from openai_runs.server.local_files import FileOption
    from openai_runs.stores.postgres import PostgresStore
    from openai_runs.stores.sqlite import SQLiteStore
    from openai_runs.telemetry import Telemetry

_logger = logging.getLogger("openai_runs.cli")


def _read_config(context: typer.Context, config: Path | None) -> Path | None:
    """Make a file's settings the defaults of the other options.

    So ``--config`` has to be the first one, and not eager: other options get their defaults after it, and ``--help``
    ends before it, and cannot show what is in the file, which may be secret.
    """
    if config is not None:
        context.default_map = read_settings(config, settings_of(serve))
    return config


def serve(
    config: Annotated[  # noqa: ARG001  # its callback has read the file
        Path | None,
        typer.Option(
            callback=_read_config,
            help="A TOML file of these options, by their names without hyphens before them. Options and environment "
            "variables come before it.",
            dir_okay=False,
        ),
    ] = None,
    store: Annotated[
        str,
        typer.Option(
            help="The SQLite file for all objects, created if it does not exist; or a PostgreSQL database, as "
            "postgresql://user@host/database."
        ),
    ] = "runs.db",
    files_folder: FilesFolder = DEFAULT_FILES_FOLDER,
    backend: Annotated[Backend, typer.Option(help="The kind of model backend.")] = Backend.SCRIPTED,
    model_url: Annotated[
        str | None, typer.Option(help="The base URL of the model's endpoint, for responses and chat.")
    ] = None,
    model_key_env: Annotated[
        str | None,
        typer.Option(help="The environment variable that has the key of the model's endpoint. Unset: no key."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="The assistant's and the endpoint's name of a model; can be repeated; * stands for all others.",
            metavar="NAME=NAME",
        ),
    ] = None,
    background: Annotated[
        bool, typer.Option(help="Model calls of --backend responses go on at the endpoint if this server dies.")
    ] = False,
    completion_windows: Annotated[
        bool,
        typer.Option(
            "--completion-windows",
            help="The endpoint of --backend responses takes OpenAI's completion windows, as OpenAI's own does unasked.",
        ),
    ] = False,
    max_tokens_field: Annotated[
        MaxTokens,
        typer.Option(help="The chat endpoint's field for the token limit; max_tokens for Ollama and older servers."),
    ] = MaxTokens.NEW,
    timeout: Annotated[
        float | None,
        typer.Option(min=0.001, help="Seconds between two pieces of a model's answer; 120 if unset."),
    ] = None,
    max_connections: Annotated[
        int | None,
        typer.Option(
            min=1, help="How many model calls are under way at once; unset: as many as there are active runs."
        ),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(help="A header of each request to the model's endpoint; can be repeated.", metavar="NAME=VALUE"),
    ] = None,
    query: Annotated[
        list[str] | None,
        typer.Option(help="A query parameter of each of these requests; can be repeated.", metavar="NAME=VALUE"),
    ] = None,
    body: Annotated[
        str | None,
        typer.Option(
            help='Merged into the body of each of these requests: {"service_tier": "flex"}; null removes a field.',
            metavar="JSON",
        ),
    ] = None,
    pass_through: Annotated[
        bool,
        typer.Option(
            "--pass-through",
            help="Pass requests of the rest of the API, such as /chat/completions, on to the model's endpoint.",
        ),
    ] = False,
    files: Annotated[
        Files | None,
        typer.Option(
            help="Where files are: here, searched by an index where the store is (local); at the endpoint of --backend "
            "responses, with all vector stores (endpoint); or here, and nothing reads them (unread). "
            "Unset: unread for --backend responses, else local."
        ),
    ] = None,
    embedding_model: Annotated[
        str | None,
        typer.Option(
            help="The endpoint's model by which local files are searched for what they mean; unset: by words."
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on. Beyond loopback, keys are required.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 picks a free one.")] = 8080,
    keys_file: Annotated[
        Path | None,
        typer.Option(
            help="A file of bearer keys or their hashes, one per line, each optionally followed by its owner's label "
            "and limits; SIGHUP has it read again.",
            dir_okay=False,
        ),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            help="What each owner may take, such as active-runs=20; can be repeated. A line of --keys-file may say "
            f"another number, or none. There are {LIMITS}.",
            metavar="NAME=NUMBER",
        ),
    ] = None,
    expires_after: Annotated[
        float, typer.Option(min=1, help="Seconds until a run expires, waiting for tools included.")
    ] = (600.0),
    max_active_runs: Annotated[
        int | None, typer.Option(min=1, help="How many runs execute at once; the others are queued. Unset: 100.")
    ] = None,
    owner_share: Annotated[
        int | None,
        typer.Option(min=1, help="How many of them one owner may have while another one waits. Unset: half of them."),
    ] = None,
    max_file_mb: Annotated[
        int | None, typer.Option(min=1, help="The size of the largest file that can be uploaded, in MB. Unset: 512.")
    ] = None,
    max_owner_mb: Annotated[
        int | None, typer.Option(min=0, help="How many MB the files of one owner may have together. Unset: no limit.")
    ] = None,
    console: Annotated[
        bool, typer.Option("--console/--no-console", help="Show browsers the runs, at /, behind the same keys.")
    ] = True,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(
            help="An origin whose web pages may use the API from a browser; can be repeated; * stands for all.",
            metavar="ORIGIN",
        ),
    ] = None,
    trusted_proxy: TrustedProxies = None,
    proxy_header: SaidIn = ProxyHeader.X_FORWARDED_FOR,
    telemetry: Annotated[
        bool,
        typer.Option(
            "--telemetry",
            help="Record requests, runs and model calls by OpenTelemetry, if the program opentelemetry-instrument or "
            "the environment has set up where to.",
        ),
    ] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="The port on which Prometheus reads /metrics, without a key. Unset: none."),
    ] = None,
    metrics_host: Annotated[
        str, typer.Option(help="The address of that port: whoever can reach it may read the metrics.")
    ] = "127.0.0.1",
    retention_days: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Delete threads in which nothing has happened for so many days. Unset: none. In --keys-file, "
            "retention-days=DAYS or retention-days=never after a label is for that owner.",
        ),
    ] = None,
    audit_log: Annotated[
        str | None,
        typer.Option(
            help="A file to which a JSON line is added for each deletion, and when keys are read again; - stands for "
            "standard output.",
            metavar="FILE",
        ),
    ] = None,
    replica: Annotated[
        bool,
        typer.Option(
            "--replica",
            help="Share the store, which is in PostgreSQL, with other servers that have this option, too.",
        ),
    ] = False,
    drain: Annotated[
        float,
        typer.Option(
            min=0,
            help="Seconds between SIGTERM and the end, in which /readyz says 503 and all else is served as before.",
        ),
    ] = 0.0,
    access_log: Annotated[bool, typer.Option(help="Log one line per request, other than polls and probes.")] = True,
    log_level: Level = LogLevel.INFO,
    log_format: Format = LogFormat.TEXT,
) -> None:
    """Serve the Assistants API to Assistants clients of any language, until Ctrl-C or SIGTERM.

    Unfinished runs resume after a restart. Each option can also be given as an environment variable, several values of
    one separated by blanks, or in the file that --config names. Instead of --keys-file, OPENAI_RUNS_KEYS may have the
    keys, one per line.
    """
    from openai_runs.engine.engine import MAX_ACTIVE_RUNS, MAX_FILE_BYTES

    set_up_logging(log_level, log_format)
    for variable, meant in misspelt_variables(["keys", *(each.parameter for each in settings_of(serve).values())]):
        _logger.warning("%s is set, and is no option of this command: is %s meant?", variable, meant)
    if replica and not is_postgres(store):
        raise typer.BadParameter("--replica needs a store in PostgreSQL: an SQLite file is for one server")
    kept = make_store(store, files_folder, is_shared=replica)
    limits = limits_from(limit)
    read = keys_from(keys_file, limits)
    keys = read.owners
    model_key = os.environ.get(model_key_env) if model_key_env is not None else None
    if model_key_env is not None and not model_key:
        raise typer.BadParameter(f"--model-key-env: the environment variable {model_key_env} is not set")
    endpoint = EndpointOptions(
        timeout=timeout, max_connections=max_connections, headers=header or (), query=query or (), body=body
    )
    model_backend = make_backend(
        backend,
        model_url,
        model_key,
        model or [],
        max_tokens_field,
        endpoint,
        background=background,
        completion_windows=completion_windows,
    )
    passed = make_pass_through(pass_through, backend, model_url, model_key, endpoint)
    owners = len({*(keys or {}).values()})
    refuse_with_endpoint(files, limits_owners=max_owner_mb is not None, passes_through=pass_through, owners=owners)
    search = make_files(files, embedding_model, kept, backend, model_url, model_key, endpoint)
    _allow_connections()
    # A server makes few cycles, and the default spent a fifth of its time on the search.
    gc.set_threshold(50_000, 20, 50)
    if backend is Backend.SCRIPTED:
        _logger.warning(
            "No model is asked: a script makes up every answer (--backend scripted). For a real model, pass --backend "
            "chat or responses with --model-url, or --backend local."
        )
    options = {
        "max_file_bytes": MAX_FILE_BYTES if max_file_mb is None else max_file_mb * 2**20,
        "max_owner_bytes": None if max_owner_mb is None else max_owner_mb * 2**20,
        "limits": limits,
        "owner_limits": read.limits,
        "max_active_runs": max_active_runs or MAX_ACTIVE_RUNS,
        "owner_share": owner_share,
        "expires_after": expires_after,
        "console": console,
        "cors_origins": cors_origin or (),
        "trusted_proxies": trusted_proxy or (),
        "proxy_header": proxy_header,
        "telemetry": _new_telemetry() if telemetry else None,
        "metrics_port": metrics_port,
        "metrics_host": metrics_host,
        "log_access": access_log,
        "retention_days": retention_days,
        "owner_retention": retention_from(keys_file),
        "operator_file": operator_file_of(kept),
        "audit": None if audit_log is None else make_audit_log(audit_log),
    }
    run(_serve(kept, model_backend, search, passed, host, port, keys, keys_file, options, drain))


def _new_telemetry() -> "Telemetry":
    from openai_runs.telemetry import Telemetry  # only here: it loads OpenTelemetry

    telemetry = Telemetry()
    if not telemetry.records:
        _logger.warning(
            "--telemetry records nothing, since no provider of OpenTelemetry is set up: start the server with "
            "`opentelemetry-instrument openai-runs serve --telemetry`, of the package opentelemetry-distro."
        )
    return telemetry


def _allow_connections() -> None:
    """Raise the limit of open files to its maximum: each connection is one, and the default is often only 1,024."""
    with suppress(ImportError, OSError, ValueError):  # Windows has no such limit; macOS may refuse its own maximum
        import resource

        _, maximum = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, maximum))


async def _serve(
    store: "SQLiteStore | PostgresStore",
    backend: "ModelBackend",
    files: "FileOption",
    pass_through: "PassThrough | None",
    host: str,
    port: int,
    keys: dict[str, str] | None,
    keys_file: Path | None,
    options: dict[str, Any],
    drain: float,
) -> None:
    from openai_runs.server import LocalServer

    server = LocalServer(
        backend=backend,
        store=store,
        files=files,
        pass_through=pass_through,
        host=host,
        port=port,
        keys=keys,
        **options,
    )
    name, sharing = _name_of(store), store.sharing
    is_shared = sharing is not None
    caught = [signal.SIGINT, signal.SIGTERM]
    if RELOADING is not None:
        caught.append(RELOADING)
    with anyio.open_signal_receiver(*caught) as signals:
        try:
            async with server:
                console.print(f"serving {server.url}, store {name}, {type(backend).__name__}; Ctrl-C stops")
                log_listening(
                    server.url, name, type(backend).__name__, keys, None if sharing is None else sharing.epoch
                )
                if options["console"]:
                    console.print(f"shows its runs to browsers at {server.url.removesuffix('v1')}")
                if options["metrics_port"] is not None:
                    console.print(f"shows Prometheus its metrics at {server.metrics_url}")
                await _stopped(signals, server, keys_file, options["limits"])
                if drain:
                    console.print(f"draining for {drain:g} s; a second Ctrl-C or SIGTERM stops at once")
                    server.drain()
                    log_draining(server, drain)
                    with anyio.move_on_after(drain):
                        await _stopped(signals, server, keys_file, options["limits"])
                console.print(
                    "stopping; unfinished runs go on at other servers, or resume at the next start"
                    if is_shared
                    else "stopping; unfinished runs resume at the next start"
                )
                log_stopping(server, is_replica=is_shared)
                began = monotonic()
            log_stopped(monotonic() - began)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            other = f", or the metrics' port {options['metrics_port']}," if options["metrics_port"] else ""
            refuse(
                f"port {port} of {host}{other} is in use: stop the other program, or pass another --port; "
                "0 picks a free one"
            )


def _name_of(store: "SQLiteStore | PostgresStore") -> str:
    from openai_runs.stores.sqlite import SQLiteStore

    return str(Path(store.name).resolve()) if isinstance(store, SQLiteStore) else f"{store.name} in PostgreSQL"


async def _stopped(
    signals: AsyncIterator[signal.Signals],
    server: "LocalServer",
    keys_file: Path | None,
    limits: "Limits | None" = None,
) -> None:
    """Wait for the signal that ends the server."""
    while await anext(signals) is RELOADING:
        reload_keys(server, keys_file, limits)
