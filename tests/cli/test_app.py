"""The command line, as its users meet it."""

import json
import signal
import sys
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from aiohttp import ClientSession
from typer.testing import CliRunner

import openai_runs
from openai_runs import Session
from openai_runs.backends import Say, Wait
from openai_runs.backends.model_backend import Detached, ModelBackend
from openai_runs.cli import app, main
from openai_runs.cli.model_options import Backend, MaxTokens, make_backend
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.run_step import RunStep
from openai_runs.server import LocalServer
from openai_runs.stores.records import RunState
from openai_runs.stores.sqlite import SQLiteStore
from tests.engine.world import world
from tests.serving import serving
from tests.stores.faulty import damage

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


def test_version():
    """The package's own number, in one line."""
    assert run("--version") == f"openai-runs {openai_runs.__version__}\n"


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
        from openai_runs.cli.follow import _follow

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
    chat = make_backend(Backend.CHAT, "http://x/v1", "key", names, tokens, background=False)
    responses = make_backend(Backend.RESPONSES, "http://x/v1", None, names, MaxTokens.NEW, background=True)
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


@pytest.mark.parametrize("number", ["9223372036854775808", "1e300", "1" + 400 * "0"])
async def test_serve_survives_any_number(tmp_path: Path, number: str):
    """Numbers that are valid and larger than what a machine's integer holds end neither the server nor the run."""
    strategy = f'{{"type": "last_messages", "last_messages": {number}}}'
    limits = f'"max_prompt_tokens": {number}, "max_completion_tokens": {number}'
    with serving(tmp_path / "runs.db") as (url, process):
        async with Session(url, "any") as session, ClientSession() as http:
            assistant = await session.assistants.create(model="m")
            body = f'{{"assistant_id": "{assistant.id}", "truncation_strategy": {strategy}, {limits}}}'
            json_type = {"Content-Type": "application/json"}
            async with http.post(f"{url}/threads/runs", data=body, headers=json_type) as response:
                created = await response.json()
            ended = await session.runs.complete(
                await session.runs.retrieve(thread_id=created["thread_id"], run_id=created["id"])
            )
            assert ended.truncation_strategy.last_messages == (int(1e300) if "e" in number else int(number))
            await session.runs.complete(await session.threads.create_and_run(assistant_id=assistant.id))
        assert process.poll() is None


# runs end


async def run_beside(*arguments: object, exit_code: int = 0) -> str:
    """The command line has an event loop of its own, so it gets a thread of its own."""
    return await anyio.to_thread.run_sync(partial(run, *arguments, exit_code=exit_code))


async def left_unfinished(path: Path) -> tuple[str, str, str]:
    """A store with a run that was cut off in the middle of a message; its ID, its step's and its message's."""
    async with world([[Say("It is"), Wait()]], store=SQLiteStore(path)) as w:
        run = await w.start("Hello")
        await w.until("message.delta", run)
        (step,), (_, message) = await w.steps(run), await w.messages(run)
    return run.id, step.id, message.id


@pytest.mark.parametrize("status", ["failed", "cancelled"])
async def test_a_run_is_ended_by_hand(tmp_path: Path, status: str):
    """With its step and its message, and with the reason; a start has nothing to take up then."""
    store_file = tmp_path / "runs.db"
    run_id, step_id, message_id = await left_unfinished(store_file)
    output = await run_beside("runs", "end", run_id, "--store", store_file, "--status", status, "--reason", "It hung.")
    assert f"is {status} now" in output
    async with SQLiteStore(store_file) as store:
        ended, step = (await store.get(Run, run_id)).value, (await store.get(RunStep, step_id)).value
        assert (ended.status, step.status) == (status, status)
        assert (ended.last_error and ended.last_error.message) == ("It hung." if status == "failed" else None)
        assert (await store.get(Message, message_id)).value.incomplete_details.reason == f"run_{status}"
        assert await store.unfinished() == []
    output = await run_beside("runs", "end", run_id, "--store", store_file, exit_code=1)
    assert f"has ended already, and stays as it is: {status}" in output


async def test_a_damaged_run_is_ended_by_hand(tmp_path: Path):
    """What of it cannot be read is named, and stays; a run that itself is damaged is never resumed."""
    store_file = tmp_path / "runs.db"
    run_id, step_id, message_id = await left_unfinished(store_file)
    damage(store_file, message_id)
    damage(store_file, run_id, kind="run_state")
    output = await run_beside("runs", "end", run_id, "--store", store_file)
    assert f"the message of step {step_id}" in output
    assert "its state" in output
    assert "Traceback" not in output
    async with SQLiteStore(store_file) as store:
        assert (await store.get(RunStep, step_id)).value.status == "failed"
        assert await store.unfinished() == []
    other, _, _ = await left_unfinished(tmp_path / "other.db")
    damage(tmp_path / "other.db", other, kind="run")
    output = await run_beside("runs", "end", other, "--store", tmp_path / "other.db", exit_code=1)
    assert "cannot be read or written, and stays as it is. No server will resume it" in output
    async with SQLiteStore(tmp_path / "other.db") as store:
        assert await store.unfinished() == []


async def test_a_call_that_may_go_on_is_named(tmp_path: Path):
    """Nobody has told the endpoint that the run has ended."""

    class Background(ModelBackend):
        async def respond(self, request):
            yield Detached("resp_1")
            await anyio.sleep_forever()

    async with world(Background(), store=SQLiteStore(tmp_path / "runs.db")) as w:
        of = await w.start()
        while not (await w.store.get(RunState, of.id)).value.handle:
            await anyio.lowlevel.checkpoint()
    assert "its model call may go on at the endpoint, as resp_1" in await run_beside(
        "runs", "end", of.id, "--store", tmp_path / "runs.db"
    )


async def test_no_run_to_end(tmp_path: Path):
    """No such run, no such store, a store that a server has: each says what there is to do."""
    store_file = tmp_path / "runs.db"
    assert "there is no store" in await run_beside("runs", "end", "run_1", "--store", store_file, exit_code=2)
    async with SQLiteStore(store_file):
        pass
    assert "openai-runs export --store" in await run_beside("runs", "end", "run_1", "--store", store_file, exit_code=1)
    with serving(store_file):
        output = await run_beside("runs", "end", "run_1", "--store", store_file, exit_code=1)
        assert "it is in use, and one process at a time can have it: stop the other one first" in output


async def test_a_damaged_store_is_a_sentence_too(tmp_path: Path):
    """As for whoever exports it."""
    _, _, message_id = await left_unfinished(tmp_path / "runs.db")
    damage(tmp_path / "runs.db", message_id)
    output = await run_beside("export", "--store", tmp_path / "runs.db", exit_code=1)
    assert "damaged" in output
    assert "Traceback" not in output
