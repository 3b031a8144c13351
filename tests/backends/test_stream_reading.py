"""What an error in a stream becomes: its code, and whether a retry or a shorter conversation may help."""

from typing import Any

import pytest

from openai_runs.backends.chat_stream import ChatStream
from openai_runs.backends.stream_reading import StreamError, is_too_long
from tests.backends.reading import read
from tests.backends.streams import chunk, event


@pytest.mark.parametrize(
    "message",
    [
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",  # Gemini
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000",  # TGI
        "Input validation error: `inputs` must have less than 1024 tokens. Given: 1500",  # TGI
        "Input is too long for requested model.",  # Bedrock
        "Input Tokens Exceeded: Number of input tokens exceeds maximum length. Please update the input to try again.",
        "Too many input tokens. Max input tokens: 8192, request input token count: 9000",  # Bedrock
        "Malformed input request: expected maxLength: 2048, actual: 3000, please reformat your input and try again.",
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",  # vLLM
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",  # vLLM
        "You passed 5000 input tokens and requested 0 output tokens. However, the model's context length is only 4096",
        "The input (5000 tokens) is longer than the model's context length (4096 tokens).",  # SGLang
        "This model's maximum prompt length is 131072 but the request contains 150000 tokens.",  # xAI
        "input length and `max_tokens` exceed context limit: 199000 + 8000 > 200000",  # Anthropic
        "prompt too long; exceeded max context length by 10 tokens",  # Ollama
        "Please reduce the length of the messages or completion.",  # Groq
        "Your input exceeds the context window of this model.",  # OpenAI
    ],
)
def test_conversations_that_are_too_long(message: str) -> None:
    """Each server says it in words of its own."""
    assert is_too_long(message)


@pytest.mark.parametrize(
    "message", ["Bad schema.", "max_tokens is too large: 5000.", "Rate limit reached for tokens per minute."]
)
def test_other_errors_are_not_taken_for_a_long_conversation(message: str) -> None:
    assert not is_too_long(message)


@pytest.mark.parametrize(
    ("error", "code", "retryable", "too_long"),
    [
        ({"message": "Busy.", "type": "server_error"}, "server_error", True, False),
        ("Busy.", "server_error", True, False),
        ({"message": "Slow down.", "code": "rate_limit_exceeded"}, "rate_limit_exceeded", True, False),
        ({"message": "Slow down.", "code": 429}, "rate_limit_exceeded", True, False),
        ({"message": "Pay.", "code": "insufficient_quota"}, "rate_limit_exceeded", False, False),
        ({"message": "Too long.", "code": "context_length_exceeded"}, "invalid_prompt", False, True),
        ({"message": "This model's maximum context length is 10."}, "invalid_prompt", False, True),
        ({"message": "No.", "type": "invalid_request_error"}, "invalid_prompt", False, False),
        ({"message": "No.", "code": 400}, "invalid_prompt", False, False),
        ({"message": "Bad image.", "code": "invalid_image_url"}, "invalid_prompt", False, False),
        ({"code": "whatever"}, "server_error", True, False),
        ({"message": "No.", "code": [400], "type": {}}, "server_error", True, False),
    ],
)
def test_errors_in_a_stream(error: Any, code: str, retryable: bool, too_long: bool) -> None:
    with pytest.raises(StreamError) as caught:
        read(ChatStream(), [chunk({"content": "Hel"}), event({"error": error})])
    assert (caught.value.code, caught.value.retryable, caught.value.too_long) == (code, retryable, too_long)
