"""The options of `openai-runs serve` that choose what searches files."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import typer

from openai_runs import Session
from openai_runs.cli import file_options
from openai_runs.cli.file_options import Files, make_files, refuse_with_endpoint
from openai_runs.cli.model_options import Backend, EndpointOptions
from openai_runs.errors import NotFoundError
from openai_runs.file_search import LocalFileSearch
from openai_runs.server import LocalServer
from openai_runs.stores.sqlite import SQLiteStore
from tests.cli.commands import run
from tests.serving import serving
from tests.stub import Stub, reply

pytestmark = pytest.mark.anyio

URL = "http://127.0.0.1:1/v1"
STORE = SQLiteStore("runs.db")


def made(files: Files | None = None, model: str | None = None, backend: Backend = Backend.CHAT, url: str | None = URL):
    return make_files(files, model, STORE, backend, url, "key", EndpointOptions(headers=["X-Team=blue"]))


def test_the_server_decides_unless_it_is_told():
    assert [made(files) for files in (None, Files.LOCAL, Files.UNREAD)] == [None, "local", "unread"]


async def test_files_at_the_endpoint():
    """With its key, its headers and its query; only the Responses API searches them there."""
    options = EndpointOptions(headers=["X-Team=blue"], query=["v=1"])
    async with Stub(reply({"id": "vs_1"})) as stub:
        files = make_files(Files.ENDPOINT, None, STORE, Backend.RESPONSES, stub.url, "sk-model", options)
        async with LocalServer(files=files) as server, server.session() as session:
            assert server.files is None
            await session.vector_stores.retrieve("vs_1")
    [request] = stub.requests
    assert (request.target, request.headers["x-team"]) == ("/v1/vector_stores/vs_1?v=1", "blue")
    assert request.headers["authorization"] == "Bearer sk-model"
    for backend in Backend.CHAT, Backend.SCRIPTED:
        with pytest.raises(typer.BadParameter, match="only for --backend responses"):
            made(Files.ENDPOINT, backend=backend)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"limits_owners": True, "passes_through": False, "owners": 1}, "--max-owner-mb"),
        ({"limits_owners": False, "passes_through": True, "owners": 2}, "only for one owner"),
        ({"limits_owners": False, "passes_through": True, "owners": 1}, None),
        ({"limits_owners": False, "passes_through": False, "owners": 2}, None),
    ],
)
def test_what_does_not_go_with_files_at_the_endpoint(options, problem):
    """It is refused by its name, and only then."""
    refuse_with_endpoint(Files.LOCAL, **options)
    with pytest.raises(typer.BadParameter, match=problem) if problem else nullcontext():
        refuse_with_endpoint(Files.ENDPOINT, **options)


def test_the_server_says_what_does_not_go_together():
    options = "--backend", "responses", "--model-url", URL, "--files", "endpoint", "--max-owner-mb", "1"
    assert "--max-owner-mb is only for files that are kept here" in run("serve", *options, exit_code=2)


@pytest.mark.parametrize("backend", [Backend.CHAT, Backend.RESPONSES])
def test_an_embedding_model_is_asked_at_the_endpoint(backend: Backend):
    """With the endpoint's key and headers; the index is where it is without the model."""
    search = made(Files.LOCAL, "all-minilm", backend)
    assert isinstance(search, LocalFileSearch)
    assert "all-minilm" in repr(search._embedder)
    assert URL in repr(search._embedder)
    assert "runs.db-index" in repr(search._index)
    assert isinstance(made(None, "all-minilm"), LocalFileSearch)


@pytest.mark.parametrize(
    "options",
    [
        {"files": Files.UNREAD},
        {"files": Files.ENDPOINT, "backend": Backend.RESPONSES},
        {"backend": Backend.RESPONSES},
        {"backend": Backend.SCRIPTED, "url": None},
    ],
)
def test_an_embedding_model_that_nobody_would_ask(options):
    """It searches nothing, or is nowhere."""
    with pytest.raises(typer.BadParameter, match="--embedding-model needs"):
        made(model="all-minilm", **options)


def test_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """What was asked for is refused; what is only the default is left out, and the log says what to install."""
    monkeypatch.setattr(file_options, "can_search", lambda: False)
    for options in {"files": Files.LOCAL}, {"model": "all-minilm"}:
        with pytest.raises(typer.BadParameter, match=r"in a clone with pip install '\.\[files\]'"):
            made(**options)
    assert made(Files.UNREAD) == "unread"
    assert made(backend=Backend.RESPONSES) is None
    assert not caplog.records
    assert made() is None
    assert "runs cannot search them. The extra 'files' is not installed here; it comes with pip" in caplog.text


def test_a_wrong_value_is_refused_at_once():
    assert "'nowhere' is not one of" in run("serve", "--files", "nowhere", exit_code=2)


async def test_a_server_searches_beside_its_store(tmp_path: Path):
    """The index is made when it is used first; a run whose store is empty finds nothing, and says so."""
    store = tmp_path / "runs.db"
    with serving(store, "--files", "local") as (url, _):
        async with Session(url, "key") as session:
            empty = await session.vector_stores.create()
            resources = {"file_search": {"vector_store_ids": [empty.id]}}
            tools = [{"type": "file_search"}]
            assistant = await session.assistants.create(model="m", tools=tools, tool_resources=resources)
            thread = await session.threads.create(messages=[{"role": "user", "content": "Tea?"}])
            assert not (tmp_path / "runs.db-index").exists()
            started = await session.runs.create(thread.id, assistant_id=assistant.id)
            await session.runs.complete(started, deadline=20)
            page = await session.messages.list(thread.id, limit=1).page()
    assert page.data[0].text == "Nothing was found."
    assert (tmp_path / "runs.db-index").exists()


async def test_a_server_with_files_at_the_endpoint(tmp_path: Path):
    """From the command line to the endpoint, and whose they are in the store's file, also after a restart."""
    options = "--backend", "responses", "--files", "endpoint", "--model-key-env", "MODEL_KEY", "--model-url"
    keys = {"OPENAI_RUNS_KEYS": "sk-ann ann\nsk-bob bob", "MODEL_KEY": "sk-model"}
    async with LocalServer(keys={"sk-model": "us"}, files="unread") as upstream:
        with serving(tmp_path / "runs.db", *options, upstream.url, **keys) as (url, _):
            async with Session(url, "sk-ann") as session:
                file = await session.files.create(b"Tea", filename="tea.txt", purpose="assistants")
                store = await session.vector_stores.create(file_ids=[file.id])
        with serving(tmp_path / "runs.db", *options, upstream.url, **keys) as (url, _):
            async with Session(url, "sk-ann") as session:
                assert await session.files.content(file.id).read() == b"Tea"
                assert [each.id async for each in session.vector_stores.list()] == [store.id]
            async with Session(url, "sk-bob") as session:
                assert [each.id async for each in session.files.list()] == []
                with pytest.raises(NotFoundError):
                    await session.vector_stores.retrieve(store.id)
    assert not (tmp_path / "runs.db-files").exists() or not list((tmp_path / "runs.db-files").iterdir())
