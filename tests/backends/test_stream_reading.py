"""What an error in a stream becomes: its code, and whether a retry or a shorter conversation may help."""

from typing import Any

import pytest

from openai_runs.backends.chat_stream import ChatStream
from openai_runs.backends.stream_reading import StreamError
from tests.backends.reading import read
from tests.backends.streams import chunk, event


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
    ],
)
def test_errors_in_a_stream(error: Any, code: str, retryable: bool, too_long: bool) -> None:
    with pytest.raises(StreamError) as caught:
        read(ChatStream(), [chunk({"content": "Hel"}), event({"error": error})])
    assert (caught.value.code, caught.value.retryable, caught.value.too_long) == (code, retryable, too_long)
