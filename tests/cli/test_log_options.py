"""What a command logs, and in which form."""

import json
import logging
import signal
import sys
from datetime import datetime
from pathlib import Path

import pytest
from aiohttp import ClientSession

from openai_runs import Session
from openai_runs.cli.log_options import JsonFormatter, LogFormat, LogLevel, set_up_logging
from tests.serving import serving


def record(message: str, *arguments: object, **more: object) -> logging.LogRecord:
    made = logging.LogRecord("openai_runs.x", logging.WARNING, __file__, 1, message, arguments, None)
    vars(made).update(more)
    return made


def test_a_record_as_json():
    """A line has time, level, logger and message; a line break in the message makes no second line."""
    line = JsonFormatter().format(record("two\nlines of %s", "\udcff", secret="sk-1234"))
    assert "\n" not in line
    shown = json.loads(line)
    assert datetime.fromisoformat(shown.pop("time")).tzinfo is not None
    assert shown == {"level": "WARNING", "logger": "openai_runs.x", "message": "two\nlines of \udcff"}


def test_an_exception_as_json():
    """The traceback is a field of the same line."""
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        line = JsonFormatter().format(record("failed", exc_info=sys.exc_info()))
    assert json.loads(line)["exception"].endswith("ZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    ("level", "own", "others"),
    [(LogLevel.DEBUG, "DEBUG", "INFO"), (LogLevel.INFO, "INFO", "INFO"), (LogLevel.ERROR, "ERROR", "ERROR")],
)
def test_the_level(level: LogLevel, own: str, others: str, monkeypatch: pytest.MonkeyPatch):
    """At debug only the library says more: what its libraries say then is a line for every wait."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own, which would stand for ours
    set_up_logging(level, LogFormat.TEXT)
    assert logging.getLogger("openai_runs.server").getEffectiveLevel() == logging.getLevelName(own)
    assert logging.getLogger("asyncio").getEffectiveLevel() == logging.getLevelName(others)


@pytest.mark.anyio
async def test_a_log_for_programs(tmp_path: Path):
    """Each line of standard error is an object; that of a request has its fields, and no secret."""
    with serving(tmp_path / "runs.db", "--log-format", "json") as (url, process):
        async with Session(url, "sk-secret-1234") as session:
            await session.threads.create()
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=20)
    note, begin, line, *end = map(json.loads, log.splitlines())
    assert [each["event"] for each in (begin, *end)] == ["listening", "stopping", "stopped"]
    assert (note["level"], note["logger"]) == ("WARNING", "openai_runs.cli")
    assert "No model is asked" in note["message"]
    assert (line["logger"], line["method"], line["path"], line["status"]) == (
        "openai_runs.access",
        "POST",
        "/v1/threads",
        200,
    )
    assert line["request_id"].startswith("req_")
    assert line["duration_ms"] >= 0
    assert line["client"] == "127.0.0.1"
    assert "owner" in line
    assert "secret" not in log


@pytest.mark.anyio
@pytest.mark.parametrize(("level", "lines"), [("debug", 2), ("info", 1), ("warning", 0)])
async def test_probes_in_the_log(tmp_path: Path, level: str, lines: int):
    """Probes are logged at debug only, other requests at info."""
    with serving(tmp_path / "runs.db", OPENAI_RUNS_LOG_LEVEL=level) as (url, process):
        async with ClientSession() as http:
            for path in ("healthz", "v1/assistants"):
                async with http.get(url.removesuffix("v1") + path) as response:
                    assert response.status == 200
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=20)
    assert log.count(" openai_runs.access ") == lines
