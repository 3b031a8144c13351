"""The command line, as its users meet it."""

import json
import signal
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from openai_runs import Session
from openai_runs.cli import Backend, MaxTokens, _backend, app, main
from openai_runs.server import LocalServer
from tests.serving import serving

pytestmark = pytest.mark.anyio

THREAD = {"id": "thread_1", "object": "thread", "created_at": 99, "tool_resources": None, "metadata": {}}


@pytest.fixture(autouse=True)
def _no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_RUNS_KEYS"):
        monkeypatch.delenv(name, raising=False)


def run(*arguments: object, exit_code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == exit_code, result.output
    return result.output


def test_demo_tells_the_whole_story():
    """Each event, the steps and the answer, without a key and without an endpoint."""
    output = run("demo")
    for word in ("assistant created", "ActionRequired", "outputs submitted", "RunEnded", "completed", "answer"):
        assert word in output
    assert output.count("step ") >= 2


def test_an_error_is_a_sentence_and_not_a_traceback():
    """No endpoint there: what was tried, and exit code 1."""
    output = run("demo", "--base-url", "http://127.0.0.1:1/v1", exit_code=1)
    assert "POST /v1/assistants at http://127.0.0.1:1/v1" in output
    assert "Traceback" not in output
    assert "no endpoint" in run("follow", "thread_1", "run_1", exit_code=1)


async def test_follow_prints_each_event(capsys):
    """A run that was started elsewhere is followed by its IDs, in the output of a process of its own."""
    async with LocalServer() as server, server.session() as session:
        assistant = await session.assistants.create(model="m")
        run = await session.threads.create_and_run(assistant_id=assistant.id)
        await session.runs.complete(run)
        from openai_runs.cli import _follow

        await _follow(run.thread_id, run.id, server.url)
    assert "RunEnded" in capsys.readouterr().out


async def test_serve_survives_a_restart(tmp_path: Path):
    """SIGTERM ends it with exit code 0, and what was there is there again; the access log has no secret."""
    store = tmp_path / "runs.db"
    with serving(store) as (url, process):
        async with Session(url, "sk-secret-1234") as session:
            thread = await session.threads.create()
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "POST /v1/threads 200" in log
    assert "secret" not in log
    with serving(store) as (url, _):
        async with Session(url, "other") as session:
            assert (await session.threads.retrieve(thread.id)).id == thread.id


async def test_serve_asks_for_keys(tmp_path: Path):
    """Keys come from a file or the environment; each owner sees its own objects only."""
    (tmp_path / "keys").write_text("# ours\nsk-anna anna\nsk-bert\n")
    with serving(tmp_path / "runs.db", "--keys-file", str(tmp_path / "keys")) as (url, _):
        async with Session(url, "sk-anna") as anna, Session(url, "sk-bert") as bert, Session(url, "sk-eve") as eve:
            thread = await anna.threads.create()
            with pytest.raises(Exception, match="No thread found"):
                await bert.threads.retrieve(thread.id)
            with pytest.raises(Exception, match="Incorrect API key"):
                await eve.threads.retrieve(thread.id)
    with serving(tmp_path / "two.db", OPENAI_RUNS_KEYS="sk-carl") as (url, _):
        async with Session(url, "wrong") as session:
            with pytest.raises(Exception, match="401"):
                await session.threads.create()


async def test_keys_from_a_file_of_another_system(tmp_path: Path):
    """A byte order mark is not a part of the first key."""
    (tmp_path / "keys").write_bytes(b"\xef\xbb\xbfsk-anna anna\r\nsk-bert\r\n")
    with serving(tmp_path / "runs.db", "--keys-file", str(tmp_path / "keys")) as (url, _):
        async with Session(url, "sk-anna") as anna:
            await anna.threads.create()


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        (None, "No such file"),
        (b"sk-secret\xff anna\n", "can't decode byte 0xff"),
        (b"sk-secret anna bert\n", "line 1 of the keys"),
    ],
)
def test_keys_that_cannot_be_read(tmp_path: Path, keys: bytes | None, problem: str):
    """A sentence, before anything is opened, that shows no key."""
    if keys is not None:
        (tmp_path / "keys").write_bytes(keys)
    output = run("serve", "--store", tmp_path / "runs.db", "--keys-file", tmp_path / "keys", exit_code=2)
    assert problem in " ".join(output.replace("│", "").split())
    assert "secret" not in output
    assert not (tmp_path / "runs.db").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the limits of another process can be read on Linux only")
def test_serve_takes_as_many_connections_as_it_may(tmp_path: Path):
    """A connection is an open file, and the usual default of 1,024 is for programs that do not know better."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard - 1), hard))
    try:
        with serving(tmp_path / "runs.db") as (_, process):
            assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_serve_beyond_loopback_wants_keys(tmp_path: Path):
    """The server is not opened to other machines without a lock."""
    output = run("serve", "--store", tmp_path / "runs.db", "--host", "0.0.0.0", exit_code=1)
    assert "keys" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--backend", "chat"], "--model-url"),
        (["--backend", "responses", "--model-url", "ftp://x"], "base_url"),
        (["--backend", "chat", "--model-url", "http://x", "--model", "a"], "NAME=NAME"),
        (["--backend", "chat", "--model-url", "http://x", "--model-key-env", "NOT_THERE"], "NOT_THERE"),
        (["--model-url", "http://x"], "--model-url is for --backend responses or chat"),
        (["--backend", "local", "--model", "a=b"], "--model is for"),
        (["--backend", "chat", "--model-url", "http://x", "--background"], "--background is for"),
        (["--backend", "responses", "--model-url", "http://x", "--max-tokens-field", "max_tokens"], "is for"),
    ],
)
def test_a_model_that_cannot_be_asked(arguments: list[str], words: str):
    """What is missing is said before anything is opened."""
    assert words in run("serve", *arguments, exit_code=2)


def test_live_models_are_made_from_the_arguments():
    """Both kinds of endpoint, with names of models mapped."""
    names, tokens = ["gpt-4o=llama3.2", "*=other"], MaxTokens.OLD
    chat = _backend(Backend.CHAT, "http://x/v1", "key", names, tokens, background=False)
    responses = _backend(Backend.RESPONSES, "http://x/v1", None, names, MaxTokens.NEW, background=True)
    assert (type(chat).__name__, type(responses).__name__) == ("ChatCompletionsBackend", "ResponsesBackend")
    assert chat._model("gpt-4o") == "llama3.2"
    assert chat._model("gpt-5") == "other"


def test_import_and_export(tmp_path: Path):
    """What was brought in comes out; a bad line makes the exit code 1 and loses nothing else."""
    saved, store = tmp_path / "saved.jsonl", tmp_path / "runs.db"
    saved.write_text(json.dumps(THREAD) + "\n{\n")
    output = run("import", saved, "--store", store, exit_code=1)
    assert "saved.jsonl:2" in output
    assert "1 thread," in output
    saved.write_text(json.dumps(THREAD))
    assert "there already: 1" in run("import", saved, "--store", store)
    assert json.loads(run("export", "--store", store)) == THREAD
    run("export", "--store", store, "--output", tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text()) == THREAD
    assert "there is no store" in run("export", "--store", tmp_path / "none.db", exit_code=2)


def test_main_is_the_program(monkeypatch: pytest.MonkeyPatch):
    """The entry point of the installed script."""
    monkeypatch.setattr(sys, "argv", ["openai-runs", "--help"])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 0
