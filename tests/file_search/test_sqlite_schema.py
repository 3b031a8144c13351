"""The file of the index: what it is opened as, and what it is not."""

import sqlite3
import stat

import pytest

from openai_runs.errors import StoreFileError
from openai_runs.file_search.sqlite_schema import MIGRATIONS, opened

pytestmark = pytest.mark.anyio


async def test_a_new_file_is_its_users(tmp_path):
    """Nobody else can read what was uploaded."""
    path = tmp_path / "index.db"
    await (await opened(path)).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await (await opened(path)).close()  # again, as it is there now


async def refusal(path):
    with pytest.raises(StoreFileError) as raised:
        await opened(path)
    return str(raised.value)


async def test_another_programs_file(tmp_path):
    """A file of another program is not touched."""
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE objects (id)")
    db.close()
    before = path.read_bytes()
    assert "it is another program's file" in await refusal(path)
    assert path.read_bytes() == before


async def test_a_later_version(tmp_path):
    """A file that a later version has written is not touched, and the message says what to do."""
    path = tmp_path / "index.db"
    db = await opened(path)
    await db.execute_fetchall(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    await db.close()
    assert "update openai_runs" in await refusal(path)


async def test_no_database(tmp_path):
    """What is no database cannot be opened."""
    path = tmp_path / "index.db"
    path.write_bytes(b"text " * 1000)
    assert "cannot open the search index" in await refusal(path)


async def test_no_folder(tmp_path):
    """Nor can what cannot be created."""
    with pytest.raises(FileNotFoundError):
        await opened(tmp_path / "none" / "index.db")
