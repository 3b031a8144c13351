"""The keys of `openai-runs serve`: read again on SIGHUP, and hashes in place of keys."""

import logging
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import typer

from openai_runs import Session
from openai_runs.cli.key_options import keys_from, limits_from, retention_from
from openai_runs.cli.serve import _stopped
from openai_runs.errors import AuthenticationError, RateLimitError
from openai_runs.server import Limits, LocalServer
from openai_runs.server.keys import hash_keys, hashed
from tests.serving import serving

pytestmark = pytest.mark.anyio


def next_line(process, text: str) -> str:
    """Read the log up to a line with ``text``."""
    for line in process.stderr:
        if text in line:
            return line
    raise AssertionError(text)


async def test_a_store_of_plain_keys_is_served_to_their_hashes(tmp_path: Path):
    """Whoever moves from keys to their hashes loses nothing: each key sees what it has made before."""
    file, made = tmp_path / "keys", {}
    file.write_text("sk-anna anna\nsk-bert\n")
    with serving(tmp_path / "runs.db", "--keys-file", str(file)) as (url, process):
        for key in ("sk-anna", "sk-bert"):
            async with Session(url, key) as session:
                made[key] = await session.threads.create()
        process.terminate()
        process.communicate(timeout=20)
    file.write_text(hash_keys(file.read_text()))
    with serving(tmp_path / "runs.db", "--keys-file", str(file)) as (url, process):
        for key, thread in made.items():
            async with Session(url, key) as session:
                assert [found async for found in session.threads.list()] == [thread]
        async with Session(url, hashed("sk-anna")) as session:
            with pytest.raises(AuthenticationError):
                await session.threads.create()
        process.terminate()
        _, log = process.communicate(timeout=20)
    assert "sk-" not in log


async def test_retention_beside_the_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It comes from where the keys come from: a file, or a variable, or nowhere."""
    monkeypatch.delenv("OPENAI_RUNS_KEYS", raising=False)
    assert retention_from(None) == {}
    monkeypatch.setenv("OPENAI_RUNS_KEYS", "sk-a al retention-days=7")
    assert (keys_from(None).owners, retention_from(None)) == ({"sk-a": "al"}, {"al": 7})
    (tmp_path / "keys").write_text("sk-a al retention-days=x")
    for file in tmp_path / "keys", tmp_path / "none":
        with pytest.raises(typer.BadParameter, match="the keys cannot be read"):
            retention_from(file)


async def test_retention_is_read_again(tmp_path: Path):
    """SIGHUP replaces the periods of owners, too; a mistake in one changes nothing. The audit log says when."""
    file, audit = tmp_path / "keys", tmp_path / "audit.jsonl"
    file.write_text("sk-anna anna retention-days=2\n")
    options = "--keys-file", str(file), "--audit-log", str(audit), "--retention-days", "30"
    with serving(tmp_path / "runs.db", *options) as (_, process):
        file.write_text("sk-anna anna retention-days=0.1\n")
        process.send_signal(signal.SIGHUP)
        assert "the keys stay as they were: the keys cannot be read: line 1" in next_line(process, "the keys")
        file.write_text("sk-anna anna retention-days=x\n")
        process.send_signal(signal.SIGHUP)
        assert "the keys stay as they were: the keys cannot be read: line 1" in next_line(process, "the keys")
        assert audit.read_text() == ""
        file.write_text("sk-anna anna retention-days=3\n")
        process.send_signal(signal.SIGHUP)
        next_line(process, "read the keys again")
    assert '"keys_reloaded"' in audit.read_text()


async def test_keys_are_read_again(tmp_path: Path):
    """After SIGHUP, new keys are known and removed ones are not; a file with a mistake changes nothing."""
    file = tmp_path / "keys"
    file.write_text("sk-anna anna\n")
    with serving(tmp_path / "runs.db", "--keys-file", str(file)) as (url, process):
        async with Session(url, "sk-anna") as anna, Session(url, "sk-bert") as bert:
            await anna.threads.create()
            file.write_text(f"{hashed('sk-bert')} bert\nsk-carl\nsk-dora carl\n")
            process.send_signal(signal.SIGHUP)
            assert "read the keys again; keys: 3, owners: 3" in next_line(process, "the keys")
            await bert.threads.create()
            with pytest.raises(AuthenticationError):
                await anna.threads.create()
            for text, problem in (("sk-anna a b\n", "line 1 of the keys has more"), ("", "has no key")):
                file.write_text(text)
                process.send_signal(signal.SIGHUP)
                line = next_line(process, "the keys stay as they were")
                assert problem in line
                assert "sk-" not in line
            await bert.threads.create()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 0


async def test_signals_in_a_row(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Each SIGHUP has the file read, with or without a mistake in it; the next other signal ends the wait."""
    caplog.set_level(logging.INFO, "openai_runs.cli")
    file, server = tmp_path / "keys", LocalServer(keys={"sk-anna": "anna"})

    async def signals() -> AsyncIterator[signal.Signals]:
        for text in ("sk-bert bert", "sk-carl sha256:1 x", "", "sk-dora dora\nsk-dora-2 dora"):
            file.write_text(text)
            yield signal.SIGHUP
        yield signal.SIGTERM

    await _stopped(signals(), server, file)
    assert [record.levelname for record in caplog.records] == ["INFO", "ERROR", "ERROR", "INFO"]
    assert caplog.messages[-1] == "read the keys again; keys: 2, owners: 1"
    assert "sk-" not in caplog.text
    async with server, server.session() as session:
        await session.threads.create()


async def test_without_a_file_of_keys(tmp_path: Path):
    """SIGHUP ends nothing then, and the log says why nothing is read."""
    with serving(tmp_path / "runs.db", OPENAI_RUNS_KEYS="sk-anna") as (url, process):
        process.send_signal(signal.SIGHUP)
        async with Session(url, "sk-anna") as session:
            await session.threads.create()
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "SIGHUP is ignored" in log


async def test_sighup_in_a_row_without_a_file(caplog: pytest.LogCaptureFixture):
    """Each of them is ignored; the next other signal ends the wait."""
    caplog.set_level(logging.INFO, "openai_runs.cli")

    async def signals() -> AsyncIterator[signal.Signals]:
        yield signal.SIGHUP
        yield signal.SIGHUP
        yield signal.SIGTERM

    await _stopped(signals(), LocalServer(), None)
    assert [message[:17] for message in caplog.messages] == ["SIGHUP is ignored"] * 2


def test_limits_of_a_file_change_those_of_all(tmp_path: Path):
    """An owner's line changes what it names, and leaves the rest of the options as it is."""
    (tmp_path / "keys").write_text("sk-anna anna active-runs=9 tokens-per-day=none\nsk-bert bert\n")
    default = limits_from(["active-runs=2", "tokens-per-day=1000", "requests-per-minute=60"])
    assert keys_from(tmp_path / "keys", default).limits == {"anna": Limits(active_runs=9, requests_per_minute=60)}
    assert keys_from(tmp_path / "keys").limits == {"anna": Limits(active_runs=9)}
    assert limits_from(None) == Limits()
    with pytest.raises(typer.BadParameter, match="--limit: the limit active-runs must be"):
        limits_from(["active-runs=0"])


async def test_limits_of_a_server(tmp_path: Path):
    """They come from options, the environment and the file of keys, which is read again with them."""
    file = tmp_path / "keys"
    file.write_text("sk-anna anna\nsk-bert bert requests-per-minute=none\n")

    async def refused(url: str, key: str) -> bool:
        async with Session(url, key, max_retries=0) as session:
            try:
                await session.threads.create()
            except RateLimitError:
                return True
        return False

    variables = {"OPENAI_RUNS_LIMIT": "requests-per-minute=1 active-runs=5"}
    with serving(tmp_path / "runs.db", "--keys-file", str(file), **variables) as (url, process):
        assert [await refused(url, key) for key in ("sk-anna", "sk-anna", "sk-bert", "sk-bert")] == [
            False,
            True,
            False,
            False,
        ]
        file.write_text("sk-anna anna requests-per-minute=none\nsk-bert bert\n")
        process.send_signal(signal.SIGHUP)
        next_line(process, "read the keys again")
        assert [await refused(url, key) for key in ("sk-anna", "sk-anna", "sk-bert", "sk-bert")] == [
            False,
            False,
            False,
            True,
        ]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
