"""`kill -9` while files are uploaded and read: each is there whole, or not at all, and nothing else is left.

``nox -s crash`` does it more often.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from openai_runs.errors import OpenAIRunsError
from openai_runs.session import Session
from tests.serving import serving

pytestmark = [pytest.mark.anyio, pytest.mark.unmeasured]

SIZE = 3_000_000


def on_the_disk(folder: Path) -> list[int]:
    return sorted(path.stat().st_size for path in folder.iterdir())


async def test_no_file_is_half_there(tmp_path: Path):
    """The server is killed at three moments of several uploads; whoever was told of a file finds its bytes."""
    store, told = tmp_path / "runs.db", dict[str, bytes]()

    async def upload(session: Session, process: Any, kill_at: int) -> None:
        while True:
            content = os.urandom(SIZE)
            try:
                told[(await session.files.create(content, purpose="assistants")).id] = content
            except OpenAIRunsError:  # the server was killed
                return
            if len(told) >= kill_at:  # the others are in the middle of theirs
                process.kill()

    for kill in range(3):
        with serving(store) as (url, process):
            async with Session(url, "key", max_retries=0) as session, anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(upload, session, process, 4 * (kill + 1))
            assert process.wait() == -signal.SIGKILL
    with serving(store) as (url, _):
        async with Session(url, "key") as session:
            listed: list[Any] = [file async for file in session.files.list()]
            assert told.keys() <= {file.id for file in listed}
            for file in listed:
                content = await session.files.content(file.id).read()
                assert len(content) == file.bytes == SIZE
                assert content == told.get(file.id, content)
    assert on_the_disk(tmp_path / "runs.db-files") == [SIZE] * len(listed)


@pytest.mark.timeout(180)
def test_every_file_is_read():
    """What was uploaded and put into vector stores under kills is there once, is read, and is found by a search."""
    # A process of its own: between attempts to reach a server that is being started again, it has to wait.
    command = [sys.executable, "-m", "tests.crash.files", "--kills", "2", "--seed", "7"]
    torture = subprocess.run(command, capture_output=True, text=True, check=False)
    assert torture.returncode == 0, torture.stdout + torture.stderr
    assert "'kills': 2" in torture.stdout
