"""The audit log of a server: a JSON line for each deletion."""

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from openai_runs.engine.audit import DELETED, Audited, By
from openai_runs.server import LocalServer
from openai_runs.server.audit_log import AuditLog
from tests.server.api import Api

pytestmark = pytest.mark.anyio

ENTRY = Audited(action=DELETED, by=By.RETENTION, object="thread", id="thread_1", owner="al", counts={"message": 2})


def lines_in(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


async def test_a_line(tmp_path: Path):
    """Added to what is there, with the time; only its user can read the file, which may be moved away at any time."""
    log = AuditLog(tmp_path / "audit.jsonl")
    assert repr(log) == f"<AuditLog {str(tmp_path / 'audit.jsonl')!r}>"
    assert stat.S_IMODE((tmp_path / "audit.jsonl").stat().st_mode) == 0o600
    log.note(ENTRY)
    AuditLog(tmp_path / "audit.jsonl").note(ENTRY)
    (tmp_path / "audit.jsonl").rename(tmp_path / "old.jsonl")
    log.note(Audited(action=DELETED, by=By.OPERATOR, object="keys"))
    first, _ = lines_in(tmp_path / "old.jsonl")
    assert datetime.now(UTC) - datetime.fromisoformat(first.pop("time")) < timedelta(minutes=1)
    assert first == {
        "action": "deleted",
        "by": "retention",
        "object": "thread",
        "id": "thread_1",
        "owner": "al",
        "counts": {"message": 2},
        "request_id": None,
    }
    [last] = lines_in(tmp_path / "audit.jsonl")
    assert (last["id"], last["owner"], last["counts"]) == (None, None, {})


async def test_standard_output(capsys: pytest.CaptureFixture[str]):
    """Each line at once."""
    log = AuditLog(None)
    assert repr(log) == "<AuditLog on standard output>"
    log.note(ENTRY)
    assert json.loads(capsys.readouterr().out)["id"] == "thread_1"


async def test_a_file_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """At first it is an error; later the log has the entry, and says so once until it works again."""
    with pytest.raises(OSError, match="No such file"):
        AuditLog(tmp_path / "none" / "audit.jsonl")
    (tmp_path / "there").mkdir()
    log = AuditLog(tmp_path / "there" / "audit.jsonl")
    (tmp_path / "there").rename(tmp_path / "gone")
    for _ in range(2):
        log.note(ENTRY)
    [record] = caplog.records
    assert "cannot be written" in record.message
    assert "thread_1" in record.message
    (tmp_path / "gone").rename(tmp_path / "there")
    log.note(ENTRY)
    (tmp_path / "there").rename(tmp_path / "gone")
    log.note(ENTRY)
    assert len(caplog.records) == 2


async def test_requests(tmp_path: Path):
    """A deletion has the ID of its request, and what is no deletion of an object leaves no line."""
    file = tmp_path / "audit.jsonl"
    async with (
        LocalServer(keys={"sk-al": "al"}, audit=AuditLog(file)) as server,
        ClientSession(headers={"Authorization": "Bearer sk-al"}) as http,
    ):
        api = Api(http, server.url)
        thread = await api("POST", "/threads", {"messages": [{"role": "user", "content": "my secret"}]})
        assistant = await api("POST", "/assistants", {"model": "m"})
        requests = []
        for path in "/threads/none", f"/threads/{thread['id']}", f"/assistants/{assistant['id']}":
            async with http.delete(f"{server.url}{path}") as response:
                requests.append(response.headers["x-request-id"])
        server.replace_keys({"sk-bob": "bob", "sk-bob2": "bob"})
    shown = [(line["by"], line["object"], line["id"], line["owner"], line["request_id"]) for line in lines_in(file)]
    assert shown == [
        ("request", "thread", thread["id"], "al", requests[1]),
        ("request", "assistant", assistant["id"], "al", requests[2]),
        ("operator", "keys", None, None, None),
    ]
    assert lines_in(file)[-1]["action"] == "keys_reloaded"
    assert lines_in(file)[-1]["counts"] == {"keys": 2, "owners": 1}
    assert lines_in(file)[0]["counts"] == {"message": 1}
    for secret in "sk-", "my secret":
        assert secret not in file.read_text()
