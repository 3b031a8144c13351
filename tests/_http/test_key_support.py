"""What an endpoint's responses say about idempotency keys."""

from typing import Any

import pytest

from openai_runs._http.key_support import KeySupport

HONOURED = {"Idempotency-Key-Supported": "true"}


@pytest.mark.parametrize(
    ("responses", "honoured"),
    [
        ([], None),
        ([(HONOURED, False)], True),
        ([({}, True)], False),
        ([({"Idempotency-Key-Supported": "false"}, True)], False),
        ([({}, False)], None),
        ([(HONOURED, True), ({}, True)], True),
        ([({}, True), (HONOURED, False)], True),
    ],
)
@pytest.mark.anyio
async def test_what_responses_say(responses: list[tuple[dict[str, str], bool]], honoured: bool | None) -> None:
    """Once an endpoint has said that it honours keys, it does; a proxy's page says nothing. Then it can be asked."""
    asked = []

    async def ask(_: Any) -> None:
        asked.append(True)
        keys.learn({}, is_certain=True)

    keys = KeySupport(ask)
    for headers, is_certain in responses:
        keys.learn(headers, is_certain=is_certain)
    assert keys.honoured is honoured
    assert await keys.ask() is bool(honoured)
    assert len(asked) == (honoured is None)
