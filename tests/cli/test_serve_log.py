"""What a server logs of its beginning and its end."""

import json
import logging
from typing import Any

import pytest

from openai_runs.backends import ScriptedBackend, Wait
from openai_runs.cli.log_options import JsonFormatter
from openai_runs.cli.serve_log import log_draining, log_listening, log_stopped, log_stopping
from openai_runs.server import LocalServer

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "openai_runs.cli")


def last(caplog: pytest.LogCaptureFixture) -> tuple[str, dict[str, Any]]:
    """The text of the last line, and its fields as a program reads them."""
    line = json.loads(JsonFormatter().format(caplog.records[-1]))
    return line.pop("message"), {name: line[name] for name in line if name not in ("time", "level", "logger")}


async def test_the_beginning(caplog: pytest.LogCaptureFixture):
    """Where it listens, what it has, and how many keys; none of them."""
    keys = {"sk-1": "a", "sk-2": "a", "sk-3": "b"}
    log_listening("http://h/v1", "/runs.db", "ScriptedBackend", keys, None)
    text, fields = last(caplog)
    assert text == "listening at http://h/v1; store: /runs.db; backend: ScriptedBackend; keys: 3, of 2 owners"
    assert fields == {
        "event": "listening",
        "address": "http://h/v1",
        "store": "/runs.db",
        "backend": "ScriptedBackend",
        "keys": 3,
        "owners": 2,
        "server": None,
    }
    log_listening("http://h/v1", "runs in PostgreSQL", "B", None, 5)
    text, fields = last(caplog)
    assert text.endswith("keys: none is required; server 5 of this store")
    assert (fields["keys"], fields["owners"], fields["server"]) == (None, 0, 5)


async def test_the_end(caplog: pytest.LogCaptureFixture):
    """How many runs are left, and who goes on with them."""
    async with LocalServer(backend=ScriptedBackend([Wait()])) as server, server.session() as session:
        assistant = await session.assistants.create(model="m")
        thread = {"messages": [{"role": "user", "content": "Hello!"}]}
        async with session.threads.stream_run(assistant_id=assistant.id, thread=thread) as events:
            async for event in events:
                if getattr(event, "status", None) == "in_progress":
                    break
            log_draining(server, 10)
            assert last(caplog) == (
                "draining for 10 s; runs that execute: 1, queued: 0",
                {"event": "draining", "seconds": 10, "executing": 1, "queued": 0},
            )
            for is_replica, where in ((False, "resume at the next start"), (True, "go on at other servers")):
                log_stopping(server, is_replica=is_replica)
                text, fields = last(caplog)
                assert text == f"stopping; runs that execute: 1, queued: 0; they {where}"
                assert fields == {"event": "stopping", "executing": 1, "queued": 0, "handed_over": is_replica}
    log_stopped(1.23456)
    assert last(caplog) == ("stopped after 1.2 s", {"event": "stopped", "seconds": 1.235})
