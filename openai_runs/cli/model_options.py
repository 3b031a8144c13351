"""The options of `openai-runs serve` that choose the model, and the backend made from them."""

from enum import StrEnum
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from openai_runs.backends import ModelBackend


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


def make_backend(
    kind: Backend, url: str | None, key: str | None, models: list[str], max_tokens: MaxTokens, *, background: bool
) -> "ModelBackend":
    """Make the backend for these options.

    Raises:
        typer.BadParameter: The options do not fit together, or one of them is invalid.
    """
    from openai_runs.backends import ChatCompletionsBackend, LocalModelBackend, ResponsesBackend, ScriptedBackend

    _refuse_unused(kind, url, key, models, max_tokens, background=background)
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
        if kind is Backend.RESPONSES:
            return ResponsesBackend(url, key, models=names, background=background)
        return ChatCompletionsBackend(url, key, models=names, max_tokens_field=max_tokens.value)
    except (ImportError, ValueError) as error:
        text = str(error).replace("base_url", "--model-url")
        if url is not None and "://" not in url:
            text += f"; did you mean http://{url.removesuffix('/v1')}/v1?"
        raise typer.BadParameter(text) from None


def _refuse_unused(
    kind: Backend, url: str | None, key: str | None, models: list[str], max_tokens: MaxTokens, *, background: bool
) -> None:
    """Refuse options that the backend ignores: the server would use another model or other settings than meant."""
    endpoints, chat, responses = [Backend.RESPONSES, Backend.CHAT], [Backend.CHAT], [Backend.RESPONSES]
    for option, is_given, kinds in (
        ("--model-url", url is not None, endpoints),
        ("--model-key-env", key is not None, endpoints),
        ("--model", bool(models), endpoints),
        ("--max-tokens-field", max_tokens is not MaxTokens.NEW, chat),
        ("--background", background, responses),
    ):
        if is_given and kind not in kinds:
            raise typer.BadParameter(f"{option} is only for --backend {' or '.join(kinds)}: got --backend {kind}")
