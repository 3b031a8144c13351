"""The options of `openai-runs serve` that choose the model."""

import pytest

from openai_runs.cli.model_options import Backend, MaxTokens, make_backend
from tests.cli.commands import run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--backend", "chat"], "--model-url"),
        (["--backend", "responses", "--model-url", "ftp://x"], "--model-url must begin with http:// or https://"),
        (["--backend", "chat", "--model-url", "localhost:11434"], "did you mean http://localhost:11434/v1?"),
        (["--backend", "chat", "--model-url", "http://x", "--model", "a"], "NAME=NAME"),
        (["--backend", "chat", "--model-url", "http://x", "--model-key-env", "NOT_THERE"], "NOT_THERE"),
        (["--model-url", "http://x"], "--model-url is only for --backend responses or chat"),
        (["--backend", "local", "--model", "a=b"], "--model is only for"),
        (["--backend", "chat", "--model-url", "http://x", "--background"], "--background is only for"),
        (["--backend", "responses", "--model-url", "http://x", "--max-tokens-field", "max_tokens"], "is only for"),
    ],
)
def test_a_model_that_cannot_be_asked(arguments: list[str], words: str):
    """Missing or unused options are reported before anything is opened."""
    assert words in run("serve", *arguments, exit_code=2)


def test_live_models_are_made_from_the_arguments():
    """Both kinds of endpoint get their backend, with the names of models mapped."""
    names, tokens = ["gpt-4o=llama3.2", "*=other"], MaxTokens.OLD
    chat = make_backend(Backend.CHAT, "http://x/v1", "key", names, tokens, background=False)
    responses = make_backend(Backend.RESPONSES, "http://x/v1", None, names, MaxTokens.NEW, background=True)
    assert (type(chat).__name__, type(responses).__name__) == ("ChatCompletionsBackend", "ResponsesBackend")
    assert chat._model_name("gpt-4o") == "llama3.2"
    assert chat._model_name("gpt-5") == "other"
