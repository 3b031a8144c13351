"""`openai-runs serve`."""

import json
import os.path
import signal
import socket
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from aiohttp import ClientSession
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from openai_runs import Session
from openai_runs.cli.serve import _new_telemetry
from openai_runs.errors import PermissionDeniedError, ResponseError
from tests.cli.commands import run
from tests.postgres import Postgres, with_parameters
from tests.serving import serving
from tests.stub import Stub, reply

pytestmark = pytest.mark.anyio


async def test_serve_survives_a_restart(tmp_path: Path):
    """SIGTERM ends it with exit code 0, and a restart has the same objects; the access log has no secret."""
    store = tmp_path / "runs.db"
    with serving(store) as (url, process):
        async with Session(url, "sk-secret-1234") as session:
            thread = await session.threads.create()
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "No model is asked" in log
    assert "POST /v1/threads 200" in log
    assert "secret" not in log
    with serving(store) as (url, _):
        async with Session(url, "other") as session:
            assert (await session.threads.retrieve(thread.id)).id == thread.id


async def test_a_database(tmp_path: Path, postgres_server: Postgres):
    """The same with a store in PostgreSQL; a second server is refused, and nobody is shown the password."""
    url_of_store = with_parameters(postgres_server.store_url(), password="secret")
    folder = ("--files-folder", str(tmp_path / "files"))
    with serving(url_of_store, *folder) as (url, process):
        async with Session(url, "key") as session:
            thread = await session.threads.create()
            file = await session.files.create(b"Hello", filename="a.txt", purpose="assistants")
        command = [sys.executable, "-m", "openai_runs", "serve", "--store", url_of_store, "--port", "0", *folder]
        second = await anyio.run_process(command, check=False)
        assert (second.returncode, second.stdout) == (1, b"")
        assert b"it is in use by another process" in second.stderr
        process.send_signal(signal.SIGTERM)
        said, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "secret" not in second.stderr.decode() + said + log
    with serving(url_of_store, *folder) as (url, _):
        async with Session(url, "key") as session:
            assert (await session.threads.retrieve(thread.id)).id == thread.id
            assert await session.files.content(file.id).read() == b"Hello"


async def test_serve_asks_for_keys(tmp_path: Path):
    """Keys come from a file or the environment, and each owner sees only its own objects."""
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


@pytest.mark.parametrize(("off", "status"), [([], 200), (["--no-console"], 404)])
async def test_the_console(tmp_path: Path, off: list[str], status: int):
    """Browsers are shown the runs where the server says it, unless that is switched off."""
    with serving(tmp_path / "runs.db", *off) as (url, process):
        page = url.removesuffix("v1")
        async with ClientSession(headers={"Accept": "text/html"}) as http, http.get(page) as response:
            assert response.status == status
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        said = process.stdout.read()  # `communicate` would miss what `serving` has read along with the first line
    assert (f"shows its runs to browsers at {page}\n" in said) is (not off)


async def test_metrics(tmp_path: Path):
    """Prometheus reads them where the server says it, without a key."""
    (tmp_path / "keys").write_text("sk-anna\n")
    arguments = "--keys-file", str(tmp_path / "keys"), "--metrics-port", "0", "--no-console"
    with serving(tmp_path / "runs.db", *arguments) as (_, process):
        assert process.stdout is not None
        line = process.stdout.readline()
        url = line.removeprefix("shows Prometheus its metrics at ").strip()
        async with ClientSession() as http, http.get(url) as response:
            assert "openai_runs_runs_executing 0.0\n" in await response.text()


def test_a_port_for_metrics_that_is_taken(tmp_path: Path):
    """The message names both ports, as it is not known which one it was."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        output = run("serve", "--store", tmp_path / "runs.db", "--port", "0", "--metrics-port", port, exit_code=1)
    assert f"port 0 of 127.0.0.1, or the metrics' port {port}, is in use" in " ".join(output.split())


async def test_keys_from_a_file_of_another_system(tmp_path: Path):
    """A byte order mark does not become part of the first key."""
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
    """Unreadable keys are reported before anything is opened, and without a key in the message."""
    if keys is not None:
        (tmp_path / "keys").write_bytes(keys)
    output = run("serve", "--store", tmp_path / "runs.db", "--keys-file", tmp_path / "keys", exit_code=2)
    assert problem in " ".join(output.replace("│", "").split())
    assert "secret" not in output
    assert not (tmp_path / "runs.db").exists()


async def test_draining(tmp_path: Path):
    """After SIGTERM it is not ready for a while, and serves as before; a second signal ends the wait.

    The log has each of these moments.
    """
    with serving(tmp_path / "runs.db", "--drain", "600", "--no-console", "--log-format", "json") as (url, process):
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert "draining for 600 s" in process.stdout.readline()
        async with ClientSession() as http, http.get(f"{url.removesuffix('v1')}readyz") as response:
            assert response.status == 503
        async with Session(url, "any") as session:
            await session.threads.create()
        process.send_signal(signal.SIGTERM)
        said, log = process.communicate(timeout=20)
    assert (process.returncode, said) == (0, "stopping; unfinished runs resume at the next start\n")
    events = [line["event"] for line in map(json.loads, log.splitlines()) if "event" in line]
    assert events == ["listening", "draining", "stopping", "stopped"]


async def test_a_drain_that_ends(tmp_path: Path):
    """It stops by itself when the time is over."""
    with serving(tmp_path / "runs.db", "--drain", "0.001") as (_, process):
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "stopping; unfinished runs" in said


def test_an_origin_that_is_none(tmp_path: Path):
    """It is refused at the start, since it would never match."""
    output = run("serve", "--store", tmp_path / "runs.db", "--cors-origin", "app.example", exit_code=1)
    assert "'app.example' is no origin" in output


@pytest.mark.skipif(sys.platform != "linux", reason="the limits of another process can be read on Linux only")
def test_serve_takes_as_many_connections_as_it_may(tmp_path: Path):
    """The limit of open files is raised to its maximum: each connection is one, and the default is often 1,024."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard - 1), hard))
    try:
        with serving(tmp_path / "runs.db") as (_, process):
            assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("text", ["", "  \n# none\n"])
def test_no_key_among_the_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str):
    """An empty variable or file is refused, and the error says how to require no key."""
    (tmp_path / "keys").write_text(text)
    output = run("serve", "--store", tmp_path / "runs.db", "--keys-file", tmp_path / "keys", exit_code=2)
    assert "keys has no key: put one into each line, or leave --keys-file out to require none" in one_line(output)
    monkeypatch.setenv("OPENAI_RUNS_KEYS", text)
    output = run("serve", "--store", tmp_path / "runs.db", exit_code=2)
    assert "OPENAI_RUNS_KEYS has no key: put one into each line, or unset it to require none" in one_line(output)


def one_line(output: str) -> str:
    return " ".join(output.split())


def test_a_folder_that_is_missing(tmp_path: Path):
    """It is named, and not created."""
    folder = tmp_path / "nowhere"
    for arguments in (["serve"], ["import", __file__]):
        output = run(*arguments, "--store", folder / "runs.db", exit_code=2)
        assert f"there is no folder {folder}; create it first" in one_line(output)
    assert not folder.exists()


def test_a_port_in_use(tmp_path: Path):
    """The error says which port, and how to get another one; a store that was not there is not made."""
    store = tmp_path / "runs.db"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        problem = f"port {port} of 127.0.0.1 is in use: stop the other program, or pass another --port"
        assert problem in run("serve", "--store", store, "--port", port, exit_code=1)
        assert list(tmp_path.iterdir()) == []
        store.touch()
        assert problem in run("serve", "--store", store, "--port", port, exit_code=1)


def test_serve_beyond_loopback_wants_keys(tmp_path: Path):
    """Without keys, an address that other machines can reach is refused."""
    output = run("serve", "--store", tmp_path / "runs.db", "--host", "0.0.0.0", exit_code=1)
    assert "keys" in output


async def test_serve_survives_any_number(tmp_path: Path):
    """Valid numbers beyond 64 bits stop neither the server nor the run."""
    with serving(tmp_path / "runs.db") as (url, process):
        async with Session(url, "any") as session, ClientSession() as http:
            assistant = await session.assistants.create(model="m")
            for number in ("9223372036854775808", "1e300", "1" + 400 * "0"):
                await run_with(number, url, assistant.id, session, http)
                await session.runs.complete(await session.threads.create_and_run(assistant_id=assistant.id))
                assert process.poll() is None, number


async def run_with(number: str, url: str, assistant_id: str, session: Session, http: ClientSession) -> None:
    strategy = f'{{"type": "last_messages", "last_messages": {number}}}'
    limits = f'"max_prompt_tokens": {number}, "max_completion_tokens": {number}'
    body = f'{{"assistant_id": "{assistant_id}", "truncation_strategy": {strategy}, {limits}}}'
    json_type = {"Content-Type": "application/json"}
    async with http.post(f"{url}/threads/runs", data=body, headers=json_type) as response:
        created = await response.json()
    ended = await session.runs.complete(
        await session.runs.retrieve(thread_id=created["thread_id"], run_id=created["id"])
    )
    assert ended.truncation_strategy.last_messages == (int(1e300) if "e" in number else int(number))


async def test_limits_of_files(tmp_path: Path):
    """The operator says how large a file may be, and all files of an owner; contents survive a restart."""
    store = tmp_path / "runs.db"
    with serving(store, "--max-file-mb", "1", "--max-owner-mb", "2") as (url, _):
        async with Session(url, "key") as session:
            with pytest.raises(ResponseError, match="413: File is too large: at most 1048576 bytes"):
                await session.files.create(b"x" * 1_048_577, purpose="assistants")
            made = [await session.files.create(b"x" * 1_048_576, purpose="assistants") for _ in range(2)]
            with pytest.raises(PermissionDeniedError, match="more than 2097152 bytes together"):
                await session.files.create(b"x", purpose="assistants")
    with serving(store, OPENAI_RUNS_MAX_OWNER_MB="2") as (url, _):
        async with Session(url, "key") as session:
            assert len(await session.files.content(made[0].id).read()) == 1_048_576
            with pytest.raises(PermissionDeniedError):
                await session.files.create(b"x", purpose="assistants")


async def test_serve_passes_requests_on(tmp_path: Path, monkeypatch):
    """The rest of the API is answered by the model's endpoint, with its own key."""
    async with Stub(reply({"object": "list", "data": []})) as stub:
        options = ["--backend", "chat", "--model-url", stub.url, "--model-key-env", "MODEL_KEY", "--pass-through"]
        environment = {"MODEL_KEY": "sk-model-1234", "OPENAI_RUNS_KEYS": "sk-anna anna"}
        with serving(tmp_path / "runs.db", *options, **environment) as (url, process):
            headers = {"Authorization": "Bearer sk-anna"}
            async with ClientSession() as http, http.get(f"{url}/models", headers=headers) as response:
                assert await response.json() == {"object": "list", "data": []}
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=20)
    assert stub.requests[0].headers["authorization"] == "Bearer sk-model-1234"
    assert "GET /v1/models 200" in log
    assert "sk-" not in log


def test_where_the_store_is(tmp_path: Path):
    """The first line has the whole path, whatever folder the server was started in."""
    command = [sys.executable, "-m", "openai_runs", "serve", "--port", "0", "--no-console", "--store"]
    store = tmp_path.resolve() / "runs.db"
    with subprocess.Popen(
        [*command, os.path.relpath(store)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
    assert f", store {store}, ScriptedBackend;" in line


@pytest.mark.parametrize(("provider", "warnings"), [(None, 1), (TracerProvider(), 0)])
def test_telemetry_that_goes_nowhere(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, provider: TracerProvider | None, warnings: int
):
    """One warning says how to start the server, unless there is a provider."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    _new_telemetry()
    assert caplog.text.count("opentelemetry-instrument openai-runs serve --telemetry") == warnings


def test_telemetry_without_a_provider_is_noticed_at_the_start(tmp_path: Path):
    """The warning is in the log of a server that is started without the program."""
    with serving(tmp_path / "runs.db", "--telemetry") as (_, process):
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=20)
    assert log.count("--telemetry records nothing") == 1
