"""The options of `openai-runs serve` that choose the model, and the backend made from them."""

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

import typer
from attrs import frozen

if TYPE_CHECKING:
    from openai_runs.backends import ModelBackend
    from openai_runs.backends.live import LiveOptions
    from openai_runs.server import PassThrough


class Backend(StrEnum):
    """The kinds of backend."""

    SCRIPTED = "scripted"
    RESPONSES = "responses"
    CHAT = "chat"
    LOCAL = "local"


class MaxTokens(StrEnum):
    """The request fields in which chat endpoints accept the limit of output tokens."""

    NEW = "max_completion_tokens"
    OLD = "max_tokens"


@frozen(kw_only=True)
class EndpointOptions:
    """How requests to the model's endpoint are sent, as the command line has it."""

    timeout: float | None = None
    max_connections: int | None = None
    headers: Sequence[str] = ()  #: ``NAME=VALUE``
    query: Sequence[str] = ()  #: likewise
    body: str | None = None  #: a JSON object

    def parsed(self) -> "LiveOptions":
        """The options of a live backend.

        Raises:
            typer.BadParameter: One of them is invalid.
        """
        options: LiveOptions = {
            "headers": _pairs("--header", self.headers),
            "query": _pairs("--query", self.query),
            "max_connections": self.max_connections,
        }
        if self.timeout is not None:
            options["timeout"] = self.timeout
        if self.body is not None:
            try:
                body = json.loads(self.body)
            except ValueError as error:
                raise typer.BadParameter(f"--body needs a JSON object: {error}") from None
            if not isinstance(body, dict):
                raise typer.BadParameter(f"--body needs a JSON object: got {self.body}")
            options["body"] = body
        return options


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    for name, equals, _ in pairs:
        if not name or not equals:  # the value may be a secret
            raise typer.BadParameter(f"{option} needs NAME=VALUE, such as X-Team=blue: one has no name or no value")
    return {name: value for name, _, value in pairs}


def make_backend(
    kind: Backend,
    url: str | None,
    key: str | None,
    models: list[str],
    max_tokens: MaxTokens,
    endpoint: EndpointOptions,
    *,
    background: bool,
    completion_windows: bool = False,
) -> "ModelBackend":
    """Make the backend for these options.

    Raises:
        typer.BadParameter: The options do not fit together, or one of them is invalid.
    """
    from openai_runs.backends import ChatCompletionsBackend, LocalModelBackend, ResponsesBackend, ScriptedBackend

    _refuse_unused(
        kind, url, key, models, max_tokens, endpoint, background=background, completion_windows=completion_windows
    )
    if kind is Backend.SCRIPTED:
        return ScriptedBackend()
    try:
        if kind is Backend.LOCAL:
            return LocalModelBackend()
        if url is None:
            raise typer.BadParameter(f"--backend {kind} needs --model-url: pass the base URL of the model's endpoint")
        pairs = [pair.partition("=") for pair in models]
        if not all(name and equals and endpoints_name for name, equals, endpoints_name in pairs):
            raise typer.BadParameter(f"--model needs NAME=NAME, such as gpt-4o=llama3.2: got {' '.join(models)}")
        names = {name: endpoints_name for name, _, endpoints_name in pairs}
        options: LiveOptions = {"models": names, **endpoint.parsed()}
        if kind is Backend.RESPONSES:
            windows = True if completion_windows else None  # unset: the backend knows OpenAI's own endpoint
            return ResponsesBackend(url, key, background=background, completion_windows=windows, **options)
        return ChatCompletionsBackend(url, key, max_tokens_field=max_tokens.value, **options)
    except (ImportError, ValueError) as error:
        text = str(error).replace("base_url", "--model-url").replace("default_headers", "--header")
        if url is not None and "://" not in url:
            text += f"; did you mean http://{url.removesuffix('/v1')}/v1?"
        raise typer.BadParameter(text) from None


def make_pass_through(
    is_on: bool, kind: Backend, url: str | None, key: str | None, endpoint: EndpointOptions
) -> "PassThrough | None":
    """Make what passes other requests on to the model's endpoint, if it is asked for. Call `make_backend` first.

    Raises:
        typer.BadParameter: There is no endpoint.
    """
    if not is_on:
        return None
    if url is None:
        raise typer.BadParameter(f"--pass-through is only for --backend responses or chat: got --backend {kind}")
    from openai_runs.server import PassThrough

    options = endpoint.parsed()
    return PassThrough(url, key, headers=options.get("headers"), query=options.get("query"))


def _refuse_unused(
    kind: Backend,
    url: str | None,
    key: str | None,
    models: list[str],
    max_tokens: MaxTokens,
    endpoint: EndpointOptions,
    *,
    background: bool,
    completion_windows: bool,
) -> None:
    """Refuse options that the backend ignores: the server would use another model or other settings than meant."""
    endpoints, chat, responses = [Backend.RESPONSES, Backend.CHAT], [Backend.CHAT], [Backend.RESPONSES]
    for option, is_given, kinds in (
        ("--model-url", url is not None, endpoints),
        ("--model-key-env", key is not None, endpoints),
        ("--model", bool(models), endpoints),
        ("--max-tokens-field", max_tokens is not MaxTokens.NEW, chat),
        ("--background", background, responses),
        ("--completion-windows", completion_windows, responses),
        ("--timeout", endpoint.timeout is not None, endpoints),
        ("--max-connections", endpoint.max_connections is not None, endpoints),
        ("--header", bool(endpoint.headers), endpoints),
        ("--query", bool(endpoint.query), endpoints),
        ("--body", endpoint.body is not None, endpoints),
    ):
        if is_given and kind not in kinds:
            raise typer.BadParameter(f"{option} is only for --backend {' or '.join(kinds)}: got --backend {kind}")
