"""`Session`: one endpoint, its connections, and the services that use them."""

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Self

import anyio

from openai_runs._arguments import check_count, check_seconds
from openai_runs._habits import NOT_SYNCHRONOUS, SESSION, SESSION_OPTIONS, explained_init, missing, refusing
from openai_runs._http.response import SHUTDOWN
from openai_runs._http.transport import ApiKey, Transport
from openai_runs.pacing.rate_limits import RateLimits

if TYPE_CHECKING:  # a service is imported when it is used first, so that programs without it start faster
    from openai_runs.services.assistants import AssistantsService
    from openai_runs.services.files import FilesService
    from openai_runs.services.messages import MessagesService
    from openai_runs.services.run_steps import RunStepsService
    from openai_runs.services.runs import RunsService
    from openai_runs.services.threads import ThreadsService
    from openai_runs.services.vector_stores import VectorStoresService
    from openai_runs.telemetry import Telemetry


@explained_init(SESSION_OPTIONS)
class Session(anyio.AsyncContextManagerMixin):
    """A client for one endpoint; share one among all tasks of a program.

    Open it with ``async with``, and send requests only inside. The services, such as `runs`, are its attributes.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: ApiKey | None = None,
        *,
        organization: str | None = None,
        project: str | None = None,
        default_headers: Mapping[str, str] | None = None,
        default_query: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        max_retries: int = 2,
        max_connections: int = 100,
        strict: bool = False,
        rate_limits: RateLimits | None = None,
        telemetry: "Telemetry | None" = None,
    ) -> None:
        """Configure a session; it opens no connection yet.

        Proxies are read from the environment when the session is opened: ``HTTPS_PROXY``, ``HTTP_PROXY``, ``NO_PROXY``.
        An endpoint on this machine is reached directly. Opening raises a `ValueError` if the proxy is not an HTTP one.

        Args:
            base_url: The endpoint, often ending in ``/v1``. Default: ``OPENAI_BASE_URL`` from the environment.
            api_key: Sent as a bearer token: a string, or an async function that returns one and is called for each
                request, and once more if its token is refused. Default: ``OPENAI_API_KEY``; if that is not set either,
                no token is sent.
            organization: Sent as ``OpenAI-Organization``. Default: ``OPENAI_ORG_ID``.
            project: Sent as ``OpenAI-Project``. Default: ``OPENAI_PROJECT_ID``.
            default_headers: Sent with each request; they override headers that other arguments set.
            default_query: Sent with each request, such as Azure's ``{"api-version": "v1"}``.
            timeout: Seconds without a byte from the server after which a request fails, or a sixteenth later, and a
                second at most; at most ten of them for connecting. Waiting for one of the `max_connections` does not
                count.
            max_retries: How often a failed request is repeated, where repeating is safe; and how often a failed look
                whether it took effect.
            max_connections: How many requests may be in progress at once; further ones wait.
            strict: Whether a response that does not fit the API raises a `ProtocolError`. By default, oddities of the
                server are read as well as they can be and logged, each kind once; see `Model`.
            rate_limits: What the endpoint allows. Default: what its ``x-ratelimit-*`` headers say. With or without
                limits, a 429 response slows all tasks of the session for a while.
            telemetry: Records runs, tool calls and requests by OpenTelemetry. Unset: nothing is recorded.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: There is no endpoint, or an argument is out of range.
        """
        base_url = base_url or os.environ.get("OPENAI_BASE_URL")
        if not base_url:
            raise ValueError(f"no endpoint: base_url is not given and OPENAI_BASE_URL is not set. {SHUTDOWN}")
        if api_key == "":
            raise ValueError("api_key must not be empty; leave it out if the endpoint needs none")
        check_count("max_retries", max_retries, least=0)
        check_count("max_connections", max_connections, least=1)
        check_seconds("timeout", timeout)
        if not isinstance(rate_limits, RateLimits | None):
            raise TypeError(
                f"rate_limits must be a RateLimits, such as RateLimits(requests_per_minute=600): "
                f"got {type(rate_limits).__name__}"
            )
        if telemetry is not None:
            from openai_runs.telemetry import check_telemetry  # only here: it loads OpenTelemetry

            check_telemetry(telemetry)
        for name, value in (("default_headers", default_headers), ("default_query", default_query)):
            if value is not None and not isinstance(value, Mapping):
                raise TypeError(f"{name} must be a dict: got {type(value).__name__}")
        organization = organization or os.environ.get("OPENAI_ORG_ID")
        project = project or os.environ.get("OPENAI_PROJECT_ID")
        headers = {
            "OpenAI-Beta": "assistants=v2",
            "OpenAI-Organization": organization,
            "OpenAI-Project": project,
        }
        self._transport = Transport(
            base_url,
            api_key or os.environ.get("OPENAI_API_KEY") or None,
            headers={name: value for name, value in headers.items() if value} | dict(default_headers or {}),
            query=default_query or {},
            timeout=timeout,
            max_retries=max_retries,
            max_connections=max_connections,
            strict=strict,
            rate_limits=rate_limits,
            telemetry=telemetry,
        )

    if not TYPE_CHECKING:  # type checkers are to report them
        __getattr__ = missing(SESSION)
        __enter__ = __exit__ = refusing(NOT_SYNCHRONOUS)

    @cached_property
    def assistants(self) -> "AssistantsService":
        """Assistants: models with instructions and tools."""
        from openai_runs.services.assistants import AssistantsService

        return AssistantsService(self._transport)

    @cached_property
    def threads(self) -> "ThreadsService":
        """Threads: conversations."""
        from openai_runs.services.threads import ThreadsService

        return ThreadsService(self._transport)

    @cached_property
    def messages(self) -> "MessagesService":
        """Messages: what is said in a thread."""
        from openai_runs.services.messages import MessagesService

        return MessagesService(self._transport)

    @cached_property
    def runs(self) -> "RunsService":
        """Runs: creating, following, streaming, answering and ending them."""
        from openai_runs.services.runs import RunsService

        return RunsService(self._transport)

    @cached_property
    def run_steps(self) -> "RunStepsService":
        """Run steps: what a run did."""
        from openai_runs.services.run_steps import RunStepsService

        return RunStepsService(self._transport)

    @cached_property
    def files(self) -> "FilesService":
        """Files: uploads, and their contents."""
        from openai_runs.services.files import FilesService

        return FilesService(self._transport)

    @cached_property
    def vector_stores(self) -> "VectorStoresService":
        """Vector stores: files that runs can search."""
        from openai_runs.services.vector_stores import VectorStoresService

        return VectorStoresService(self._transport)

    @property
    def honours_keys(self) -> bool | None:
        """Whether the endpoint honours idempotency keys; ``None`` before a response has told."""
        return self._transport.keys.honoured

    def __repr__(self) -> str:
        return f"<Session at {self._transport.base_url}>"

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        """Open the connections; at the end close them, so that requests in progress fail.

        Runs that are followed with ``on_exit="cancel"`` are cancelled before that, for up to five seconds.
        """
        async with self._transport.opened():
            yield self
