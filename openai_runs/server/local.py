"""`LocalServer`: serves the engine on a port of this machine while an ``async with`` block runs."""

import os
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import anyio
from aiohttp import web
from yarl import URL

from openai_runs.backends import ScriptedBackend
from openai_runs.backends.model_backend import ModelBackend
from openai_runs.engine import Engine
from openai_runs.engine.audit import KEYS_RELOADED, Audit, Audited, By
from openai_runs.engine.clock import Clock
from openai_runs.engine.engine import MAX_ACTIVE_RUNS, MAX_FILE_BYTES
from openai_runs.engine.file_index import FileIndex
from openai_runs.engine.limits import UNLIMITED, Limits, OwnerLimits
from openai_runs.engine.retention import Periods
from openai_runs.server import access_log
from openai_runs.server.app import create_app
from openai_runs.server.cors import check_origins
from openai_runs.server.dedicated_task import in_dedicated_task
from openai_runs.server.endpoint_files import EndpointFiles
from openai_runs.server.front import answer_in_front
from openai_runs.server.gate import GATE
from openai_runs.server.keys import Keys, is_hashed
from openai_runs.server.listening import Port
from openai_runs.server.local_files import FileOption, chosen_files, opened, searching, why_unread
from openai_runs.server.pass_through import PassThrough
from openai_runs.server.poll_hint import PollHint
from openai_runs.server.readiness import READINESS
from openai_runs.server.sse_response import STREAMS
from openai_runs.server.trusted_proxies import TrustedProxies, trust
from openai_runs.stores import MemoryStore
from openai_runs.stores.store import Store

if TYPE_CHECKING:
    from openai_runs.server.metrics import Metrics
    from openai_runs.session import Session
    from openai_runs.telemetry import Telemetry

_HANDING_OVER: Final = 2.0  #: seconds that a server takes at its end to let others have its runs
_NOT_RUNNING: Final = "the server is not running: use it in `async with LocalServer() as server`"


class LocalServer(anyio.AsyncContextManagerMixin):
    """The Assistants API on loopback, served by this package's engine; any Assistants client can use it.

    ``async with LocalServer() as server, server.session() as session: …``

    Attributes:
        engine: Executes the runs; set while the server is up.
        files: Searches the files of runs; ``None`` if that is left to the backend.
    """

    engine: Engine
    files: FileIndex | None

    def __init__(
        self,
        *,
        backend: ModelBackend | None = None,
        store: Store | None = None,
        files: FileOption = None,
        pass_through: PassThrough | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        keys: Mapping[str, str] | None = None,
        expires_after: float = 600.0,
        max_active_runs: int = MAX_ACTIVE_RUNS,
        owner_share: int | None = None,
        max_file_bytes: int = MAX_FILE_BYTES,
        max_owner_bytes: int | None = None,
        limits: Limits = UNLIMITED,
        owner_limits: Mapping[str, Limits] | None = None,
        clock: Clock | None = None,
        poll_hint: PollHint | None = None,
        console: bool = True,
        cors_origins: Collection[str] = (),
        trusted_proxies: Collection[str] = (),
        proxy_header: str = "x-forwarded-for",
        telemetry: "Telemetry | None" = None,
        metrics_port: int | None = None,
        metrics_host: str = "127.0.0.1",
        log_access: bool = False,
        retention_days: float | None = None,
        owner_retention: Mapping[str, float | None] | None = None,
        audit: Audit | None = None,
        operator_file: str | os.PathLike[str] | None = None,
        grace: float = 2.0,
    ) -> None:
        """Configure the server; ``async with`` starts it.

        Args:
            backend: The model. Unset: a `ScriptedBackend`, which needs no model.
            store: Where objects are kept. Unset: a new `MemoryStore`.
            files: What reads the files in vector stores, and searches them for runs: a `LocalFileSearch`, which the
                server opens and closes; ``"local"``, one whose index is beside the store's file, or in a temporary
                folder if the store is in memory; `EndpointFiles`, an endpoint which has the files and vector stores
                in place of this server; or ``"unread"``: files are kept here, those in vector stores cannot be read,
                and a search is left to the backend. Unset: ``"unread"`` for a `ResponsesBackend` and for a
                `SearchingBackend`, or if the extra ``files`` is not installed, else ``"local"``.
            pass_through: The model's endpoint, to which requests of the rest of the API are passed on, such as
                ``/chat/completions``. Unset: they are answered with 404.
            host: The address to listen on.
            port: The port to listen on; 0 picks a free one.
            keys: Maps each bearer key to the label of its owner, who sees only its own objects. The hash of a key, as
                `openai_runs.server.keys.hashed` makes it, may stand for the key. ``None``: no key is required; allowed
                on loopback only.
            expires_after: Seconds from a run's creation until it expires, waiting for tool outputs included.
            max_active_runs: How many runs execute at once; the others are ``queued``.
            owner_share: How many of them may be of one owner while another one waits. Unset: half, rounded up.
            max_file_bytes: The size of the largest file that can be uploaded.
            max_owner_bytes: How many bytes the files of one owner may have together. Unset: no limit.
            limits: What each owner may take, so that its programs do not harm those of others. Without keys, all
                clients are one owner.
            owner_limits: Those of some owners, by their labels, in place of ``limits``.
            clock: The engine's clock. Unset: the system's.
            poll_hint: How soon clients are told to poll a run again.
            console: Whether browsers get pages that show the runs, at ``/``; behind the same keys.
            cors_origins: The origins, such as ``https://app.example``, whose web pages may use the API from a browser;
                ``*`` stands for all. They are never sent cookies.
            trusted_proxies: The addresses of reverse proxies, or of their networks, as ``10.0.0.0/8``. What they say of
                a request's client and scheme is believed. Unset: nobody is, and the client is who has connected.
            proxy_header: Where they say it: ``x-forwarded-for``, with ``x-forwarded-proto``, or ``forwarded``, as in
                RFC 7239. The other header is not read, since a client may have sent it.
            telemetry: Records requests, runs and model calls by OpenTelemetry. Unset: nothing is recorded.
            metrics_port: The port on which Prometheus reads ``/metrics``; 0 picks a free one. Unset: none.
            metrics_host: The address of that port. Reading needs no key: whoever can reach the address may.
            log_access: Whether to write one line per request to the logger ``openai_runs.access``.
            retention_days: After how many days without a new message or run a thread is deleted, at least 1. Unset:
                never.
            owner_retention: The same for some owners, by their labels; ``None`` for never.
            audit: Is told of each deletion, and of new keys: an `openai_runs.server.audit_log.AuditLog`, say.
            operator_file: A file that says where the operator's commands, such as `openai-runs backup`, reach this
                server, on loopback, and with which secret: whoever can read it can read and delete the objects of all
                owners. It is there while the server is up, and readable by its user only. Unset: they cannot reach it.
            grace: Seconds that unfinished requests get when the server stops.

        Raises:
            ValueError: ``keys`` is empty, has a blank key, or is ``None`` on an address other than loopback; one of
                ``cors_origins`` is no origin, or of ``trusted_proxies`` no address; ``proxy_header`` is neither of the
                two; a period of retention is shorter than a day; ``files`` is ``"local"``, and the store has no file;
                or `EndpointFiles`, with ``max_owner_bytes``, or with ``pass_through`` and several owners.
            MissingExtraError: ``files`` is ``"local"``, and the extra ``files`` is not installed.
        """
        if keys is None and not _is_loopback(host):
            raise ValueError(f"other machines can reach the server on host {host!r}: pass keys, or a loopback address")
        self._backend = ScriptedBackend() if backend is None else backend
        self._store = MemoryStore() if store is None else store
        self.files = chosen_files(files, self._backend, self._store)
        self._why_unread = why_unread(files, self._backend, self._store)
        if self.files is not None:
            self._backend = searching(self._backend, self.files)
        self._endpoint_files = files if isinstance(files, EndpointFiles) else None
        self._keys = None if keys is None else Keys(keys)
        self._own_key = next((key for key in keys or () if not is_hashed(key)), None)
        self._has_one_owner = self._keys is None or len(self._keys.owners) < 2
        if self._endpoint_files is not None:
            if max_owner_bytes is not None:
                raise ValueError("max_owner_bytes counts files that are kept here: leave it out with EndpointFiles")
            if pass_through is not None and not self._has_one_owner:
                # The body of any call may name files and vector stores, and those of all owners have one key there.
                raise ValueError(
                    "pass_through and EndpointFiles are only for one owner: what is passed through could use the files "
                    "and vector stores of all owners"
                )
        self._pass_through = pass_through
        self._host = host
        self._port = port
        self._expires_after = expires_after
        self._max_active_runs = max_active_runs
        self._owner_share = owner_share
        self._max_file_bytes = max_file_bytes
        self._max_owner_bytes = max_owner_bytes
        self._limits = OwnerLimits(limits, owner_limits)
        self._clock = clock
        self._poll_hint = PollHint(now=clock.now) if poll_hint is None and clock is not None else poll_hint
        self._console = console
        self._cors_origins = check_origins(cors_origins)
        self._proxies = TrustedProxies(trusted_proxies, proxy_header) if trusted_proxies else None
        self._telemetry = telemetry
        self._metrics_port, self._metrics_host = metrics_port, metrics_host
        self._metrics_url: URL | None = None
        self._access_log = access_log.logger if log_access else None
        self._retention = Periods(retention_days, owner_retention or {})
        self._audit = audit
        self._operator_file = None if operator_file is None else Path(operator_file)
        self._grace = grace
        self._url: URL | None = None
        self._app: web.Application | None = None

    def __repr__(self) -> str:
        return f"<LocalServer at {self._url}>" if self._url else "<LocalServer, closed>"

    @property
    def url(self) -> str:
        """The base URL for clients, such as ``http://127.0.0.1:38211/v1``.

        Raises:
            RuntimeError: The server is not running.
        """
        if self._url is None:
            raise RuntimeError(_NOT_RUNNING)
        return str(self._url)

    @property
    def metrics_url(self) -> str:
        """Where Prometheus can read what the server counts, such as ``http://127.0.0.1:9464/metrics``.

        Raises:
            RuntimeError: The server is not running, or has no ``metrics_port``.
        """
        if self._metrics_url is None:
            raise RuntimeError("there are no metrics: pass metrics_port, and use the server in `async with`")
        return str(self._metrics_url)

    def session(self, **options: Any) -> "Session":
        """Make a client of this server, to be opened with ``async with``.

        Args:
            **options: Arguments of `openai_runs.session.Session`. ``api_key`` defaults to the first of the server's
                keys that is no hash.

        Raises:
            RuntimeError: The server is not running.
            ValueError: All keys are hashes, and there is no ``api_key``.
        """
        # The one place where the server imports the client, for those who use both.
        from openai_runs.session import Session

        if self._keys is not None and self._own_key is None and "api_key" not in options:
            raise ValueError("the server knows its keys by their hashes only: pass one as api_key")
        api_key = self._own_key or "local"  # never the environment's: it is for elsewhere
        return Session(**{"base_url": self.url, "api_key": api_key, **options})

    def drain(self) -> None:
        """Answer ``/readyz`` with 503 from now on, so that load balancers send no more requests; answer all others.

        Raises:
            RuntimeError: The server is not running.
        """
        if self._app is None:
            raise RuntimeError(_NOT_RUNNING)
        self._app[READINESS].is_draining = True

    def replace_keys(
        self,
        keys: Mapping[str, str],
        *,
        owner_limits: Mapping[str, Limits] | None = None,
        owner_retention: Mapping[str, float | None] | None = None,
    ) -> None:
        """Take these keys in place of the others, at once; after an error, nothing has changed.

        Whoever has logged in to the console has to do so again. Requests that are under way go on to their ends.

        Args:
            keys: Maps each bearer key, or its hash, to the label of its owner.
            owner_limits: The limits of some owners, by their labels. Unset: they stay as they are.
            owner_retention: Replaces that of the server, too. Unset: it stays.

        Raises:
            RuntimeError: The server has no keys: it may be open to others, and that is not changed while it runs.
            ValueError: ``keys`` is empty, or has a blank key or a malformed hash; or there would be several owners
                where there was one, or the other way round, and the server has `PassThrough` or `EndpointFiles`, which
                depend on it. Or a period of ``owner_retention`` is shorter than a day.
        """
        if self._keys is None:
            raise RuntimeError("the server was started without keys: start it with some")
        new = Keys(keys)
        by_owner = self._retention.by_owner if owner_retention is None else owner_retention
        Periods(self._retention.days, by_owner)  # it checks them
        if (len(new.owners) < 2) is not self._has_one_owner and (self._pass_through or self._endpoint_files):
            raise ValueError(
                "one owner or several: pass_through and EndpointFiles depend on it, so start the server anew"
            )
        if owner_limits is not None:
            self._limits.replace(owner_limits)
        self._keys.replace(keys)
        self._own_key = next((key for key in keys if not is_hashed(key)), None)
        self._has_one_owner = len(new.owners) < 2
        self._retention.by_owner = by_owner
        if self._app is not None:
            self._app[GATE].has_several_owners = not self._has_one_owner
        if self._audit is not None:
            counts = {"keys": len(keys), "owners": len(new.owners)}
            self._audit.note(Audited(action=KEYS_RELOADED, by=By.OPERATOR, object="keys", counts=counts))

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        """Serve until the ``async with`` block ends."""
        async with in_dedicated_task(self._serving()):
            yield self

    @asynccontextmanager
    async def _serving(self) -> AsyncGenerator[None]:
        if self._telemetry is not None:
            for connection in self._pass_through, self._endpoint_files:
                if connection is not None:
                    connection.observe(self._telemetry)
        async with (
            Port(self._host, self._port) as port,
            nullcontext()
            if self._metrics_port is None
            else _counting(self._metrics_host, self._metrics_port) as counted,
            opened(self.files),
            nullcontext() if self._endpoint_files is None else self._endpoint_files.opened(),
            Engine(
                store=self._store,
                backend=self._backend,
                clock=self._clock,
                expires_after=self._expires_after,
                max_active_runs=self._max_active_runs,
                owner_share=self._owner_share,
                max_file_bytes=self._max_file_bytes,
                max_owner_bytes=self._max_owner_bytes,
                limits=self._limits,
                index=self.files,
                why_no_index=self._why_unread,
                files_endpoint=self._endpoint_files,
                has_one_owner=self._has_one_owner,
                telemetry=self._telemetry,
                observers=() if counted is None else (counted[0],),
                retention=self._retention,
                audit=self._audit,
            ) as self.engine,
        ):
            hint = self._poll_hint or PollHint()
            app = create_app(
                self.engine,
                keys=self._keys,
                poll_hint=hint,
                pass_through=self._pass_through,
                endpoint_files=self._endpoint_files,
                console=self._console,
                cors_origins=self._cors_origins,
                telemetry=self._telemetry,
            )
            self._app = app
            runner = web.AppRunner(
                app,
                access_log=self._access_log,
                access_log_class=access_log.AccessLogger,
                logger=access_log.protocol_logger,
                shutdown_timeout=max(self._grace, 0.001),  # to aiohttp, 0 means without limit
            )
            try:
                await runner.setup()
                if self._proxies is not None:
                    trust(runner, self._proxies)
                answer_in_front(runner, self.engine, self._keys, hint, only_polls=self._telemetry is not None)
                async with nullcontext() if counted is None else self._measuring(runner, *counted):
                    await port.listen(runner)
                    self._url = port.url("/v1")
                    async with nullcontext() if self._operator_file is None else self._serving_operator():
                        yield
            finally:
                self._url = self._app = None
                port.close()
                # Shielded, since even a cancelled server must close its sockets; the cleanup ends within the grace.
                with anyio.CancelScope(shield=True):
                    with anyio.move_on_after(_HANDING_OVER):  # first: requests that are under way may take their time
                        await self.engine.hand_over()
                    await runner.cleanup()

    def _serving_operator(self) -> AbstractAsyncContextManager[None]:
        from openai_runs.server.operator_site import serving_operator  # only here: few servers have one

        assert self._operator_file is not None  # noqa: S101  # for the type checker
        return serving_operator(self.engine, self._store, self._operator_file)

    @asynccontextmanager
    async def _measuring(self, runner: web.AppRunner, metrics: "Metrics", port: Port) -> AsyncGenerator[None]:
        """Count the requests, and show all that is counted, at a port of its own."""
        from openai_runs.server.metrics_site import count_requests, serving_metrics

        metrics.show_load(self.engine, lambda: len(runner.app[STREAMS]))
        keys = self._keys
        metrics.show_owners(self.engine, runner.app[GATE], lambda: ("",) if keys is None else keys.owners)
        count_requests(runner, metrics)
        async with serving_metrics(metrics, port):
            self._metrics_url = port.url("/metrics")
            try:
                yield
            finally:
                self._metrics_url = None


@asynccontextmanager
async def _counting(host: str, port: int) -> AsyncGenerator[tuple["Metrics", Port]]:
    """What counts, and the port where that is shown."""
    from openai_runs.server.metrics import Metrics  # only here: most servers count nothing

    async with Port(host, port) as shown:
        yield Metrics(), shown


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
