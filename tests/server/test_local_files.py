"""What a server searches files with: by its arguments, and where the index is."""

from pathlib import Path

import anyio
import pytest

from openai_runs._extras import NO_SEARCH
from openai_runs.backends import (
    ChatCompletionsBackend,
    LocalModelBackend,
    ResponsesBackend,
    ScriptedBackend,
    SearchingBackend,
)
from openai_runs.errors import BadRequestError, MissingExtraError, StoreFileError
from openai_runs.file_search import LocalFileSearch, PostgresIndex, SQLiteIndex
from openai_runs.server import EndpointFiles, LocalServer, local_files
from openai_runs.server.local_files import (
    LocalFiles,
    chosen_files,
    copy_files_index,
    index_beside,
    index_place,
    searching,
    why_unread,
)
from openai_runs.stores import MemoryStore
from openai_runs.stores.postgres import PostgresStore
from openai_runs.stores.sqlite import SQLiteStore
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

OPTIONS = {"limit": 5, "ranking_options": None, "max_tokens": None}


class StoreElsewhere:
    """A store of somebody else."""


async def fill(files: LocalFiles) -> None:
    await (await files.opened()).ingest("vs_1", "file-1", "tea.md", b"Tea is hot.")


async def found(files: LocalFiles) -> list[str]:
    return [hit.text for hit in await files.search(["vs_1"], "tea", **OPTIONS)]


async def test_an_index_is_made_when_it_is_needed(tmp_path: Path):
    """Most servers have no files, and opening an index takes longer than all the rest of them."""
    path = tmp_path / "index"
    async with LocalFiles(path) as files:
        assert not path.exists()
        await fill(files)
        assert await found(files) == ["Tea is hot."]
    async with LocalFiles(path) as files:
        assert await found(files) == ["Tea is hot."]


async def test_a_backup_without_the_index(tmp_path: Path):
    """What was in the vector stores is found again, after the files were read again."""
    path = tmp_path / "runs.db"
    async with LocalServer(store=SQLiteStore(path)) as server, server.session() as session:
        shelf = await session.vector_stores.create()
        await session.vector_stores.files.upload_and_poll(
            vector_store_id=shelf.id, file=b"Tea is hot.", filename="tea.md"
        )
    index_beside(path).unlink()
    async with LocalServer(store=SQLiteStore(path)) as server, server.session() as session:
        with anyio.fail_after(60):
            while not (page := await session.vector_stores.search(shelf.id, query="tea")).data:
                pass
    assert page.data[0].content[0].text == "Tea is hot."


async def test_an_index_in_the_database(postgres_server: Postgres, tmp_path: Path):
    """It is where a store in PostgreSQL is: the next server, on whatever machine, finds what this one has read."""
    url = postgres_server.store_url()
    async with LocalServer(store=PostgresStore(url, folder=tmp_path / "1")) as server, server.session() as session:
        shelf = await session.vector_stores.create()
        await session.vector_stores.files.upload_and_poll(
            vector_store_id=shelf.id, file=b"Tea is hot.", filename="tea.md"
        )
    async with LocalServer(store=PostgresStore(url, folder=tmp_path / "2")) as server, server.session() as session:
        page = await session.vector_stores.search(shelf.id, query="tea")
        assert isinstance((await server.files.opened())._index, PostgresIndex)
    assert page.data[0].content[0].text == "Tea is hot."
    assert not list(tmp_path.iterdir())  # noqa: ASYNC240  # it takes no time


async def test_an_index_is_copied(postgres_server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """From where one store has it to where another one has; none, if there is none or nothing can be searched here."""
    file, other = SQLiteStore(tmp_path / "runs.db"), PostgresStore(postgres_server.store_url())
    assert await copy_files_index(file, other) == 0
    async with LocalFiles(index_place(file)) as files:
        await fill(files)
    assert await copy_files_index(file, other) == 1
    async with LocalFiles(index_place(other)) as files:
        assert await found(files) == ["Tea is hot."]
    assert await copy_files_index(file, MemoryStore()) == 0
    monkeypatch.setattr(local_files, "can_search", lambda: False)
    assert await copy_files_index(file, other) == 0


async def test_a_damaged_index_is_noticed_at_the_start(tmp_path: Path):
    """Not by the first run that searches."""
    path = tmp_path / "index"
    path.write_bytes(b"no database" * 100)
    with pytest.raises(StoreFileError):
        async with LocalFiles(path):
            pytest.fail("it was opened")


async def test_an_index_without_a_place_is_gone_at_the_end():
    """Opened once, whoever comes first."""
    async with LocalFiles(None) as files:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fill, files)
            tasks.start_soon(found, files)
        search = await files.opened()
        folder = search._index._path.parent
        assert folder.is_dir()
        assert await found(files) == ["Tea is hot."]
    assert not folder.exists()


def test_what_searches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Unless told otherwise: beside the store, or left to a backend that can search by itself."""
    scripted, responses = ScriptedBackend(), ResponsesBackend("http://127.0.0.1:1/v1")
    memory, file = MemoryStore(), SQLiteStore(tmp_path / "runs.db")
    own = LocalFileSearch(SQLiteIndex(tmp_path / "mine"))
    assert chosen_files(own, scripted, memory) is own
    assert chosen_files("unread", scripted, memory) is None
    for backend in responses, SearchingBackend(scripted, own):
        assert chosen_files(None, backend, memory) is None
        assert isinstance(chosen_files("local", backend, memory), LocalFiles)
    for option in None, "local":
        assert chosen_files(option, scripted, memory)._place is None
        assert chosen_files(option, scripted, file)._place == tmp_path / "runs.db-index"
        assert chosen_files(option, scripted, PostgresStore("postgresql:///runs"))._place == "postgresql:///runs"
    assert chosen_files(None, scripted, StoreElsewhere()) is None
    assert chosen_files(EndpointFiles("http://x/v1"), responses, memory) is None
    with pytest.raises(ValueError, match=r"EndpointFiles\(url, key\)"):
        chosen_files("endpoint", responses, memory)
    with pytest.raises(ValueError, match="pass a LocalFileSearch"):
        chosen_files("local", scripted, StoreElsewhere())
    monkeypatch.setattr(local_files, "can_search", lambda: False)
    assert chosen_files(None, scripted, memory) is None
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[files\]'"):
        chosen_files("local", scripted, memory)


@pytest.mark.parametrize("is_missing", [True, False])
async def test_what_to_install_is_said_where_it_is_missed(monkeypatch: pytest.MonkeyPatch, is_missing: bool):
    """By the file that is not read, the search and the run that are refused; only if installing it would help."""
    monkeypatch.setattr(local_files, "can_search", lambda: not is_missing)
    backend = ChatCompletionsBackend("http://127.0.0.1:1/v1")
    async with (
        LocalServer(backend=backend, files=None if is_missing else "unread") as server,
        server.session() as session,
    ):
        file = await session.files.create(b"Tea", filename="tea.txt", purpose="assistants")
        store = await session.vector_stores.create()
        added = await session.vector_stores.files.create_and_poll(store.id, file_id=file.id)
        assert added.last_error is not None
        said = [added.last_error.message]
        with pytest.raises(BadRequestError) as caught:
            await session.vector_stores.search(store.id, query="tea")
        said.append(caught.value.message)
        for tool in "file_search", "code_interpreter":
            assistant = await session.assistants.create(model="m", tools=[{"type": tool}])
            with pytest.raises(BadRequestError, match="does not support") as caught:
                await session.threads.create_and_run(assistant_id=assistant.id)
            said.append(caught.value.message)
    assert [NO_SEARCH in message for message in said] == [*[is_missing] * 3, False]
    assert said[0].startswith("This server has no index, and reads no files.")


def test_why_files_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A choice is no mistake, nor is a backend that searches by itself."""
    scripted, memory = ScriptedBackend(), MemoryStore()
    assert why_unread(None, scripted, memory) == ""
    monkeypatch.setattr(local_files, "can_search", lambda: False)
    assert why_unread(None, scripted, memory) == f"{NO_SEARCH}."
    assert why_unread("unread", scripted, memory) == ""
    assert why_unread(None, scripted, StoreElsewhere()) == ""
    assert why_unread(None, ResponsesBackend("http://127.0.0.1:1/v1"), memory) == ""


def test_a_weak_model_is_helped(monkeypatch: pytest.MonkeyPatch):
    """It gets less to read, and the search comes first."""
    monkeypatch.setattr(LocalModelBackend, "__init__", lambda self: None)
    weak, strong = (searching(backend(), LocalFiles(None)) for backend in (LocalModelBackend, ScriptedBackend))
    assert (weak._search_first, weak._result_tokens) == (True, 1_500)
    assert (strong._search_first, strong._result_tokens) == (False, 16_000)
    assert searching(weak, LocalFiles(None)) is weak


async def test_a_server_opens_what_it_is_given(tmp_path: Path):
    """And closes it; what needs no opening is used as it is."""

    class Nothing:
        async def search(self, *_: object, **__: object):
            return []

    async with LocalServer(files=Nothing()) as server:
        assert isinstance(server.files, Nothing)
    files = LocalFileSearch(SQLiteIndex(tmp_path / "index"))
    async with LocalServer(files=files):
        assert "open" in repr(files._index)
    assert "closed" in repr(files._index)
    async with LocalServer(files="unread") as server:
        assert server.files is None
