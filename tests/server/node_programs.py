"""A program on OpenAI's library for Node; not collected by default, `nox -s node_programs` runs it.

The library is in a folder of its own, ``NODE_CLIENT``. The program is copied there, since Node looks for what a program
imports beside it.
"""

import json
import os
import shutil
from pathlib import Path

import anyio
import pytest

from tests.serving import serving

pytestmark = pytest.mark.anyio

PROGRAM = Path(__file__).parent / "programs/of_node.mjs"


async def program(url):
    """Run the program, and return what it prints."""
    copy = shutil.copy(PROGRAM, os.environ["NODE_CLIENT"])
    environment = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "k", "PATH": os.environ["PATH"]}
    done = await anyio.run_process(["node", copy], check=False, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


async def test_of_node(anyio_backend, tmp_path):
    """It uploads, waits, asks, streams, pages and deletes, all with the library's own methods."""
    with serving(tmp_path / "runs.db", "--no-access-log") as (url, _):
        told = await program(url)
    assert told["batch"] == ["completed", 20]
    assert told["kettle"] == "completed"
    assert told["content"] == "The canteen opens at half past eleven."
    assert told["found"] == "shelf-7.txt"
    for asked, answer, cited in (
        ("fromStore", "The kettle holds 1.7 litres of water. [0]", "[0] kettle.txt"),
        ("fromAttachment", "The canteen opens at half past eleven. [0]", "[0] canteen.txt"),
    ):
        run = told[asked]
        assert run["answer"] == [answer, cited]
        assert (run["streamed"], run["calls"], run["status"]) == (True, ["file_search"], "completed")
        assert {"thread.run.created", "thread.run.step.completed", "thread.message.delta"} <= set(run["events"])
    assert told["polled"] == "completed"
    assert told["inStore"] == 21
    assert told["messages"] == ["user", "assistant", "user", "assistant", "assistant"]
    assert told["steps"] == ["message_creation", "tool_calls"]
    assert (told["uploaded"], told["deleted"], told["left"]) == (22, 22, 0)
    status, kind, message = told["refusal"]
    assert (status, kind) == (404, "invalid_request_error")
    assert "No vector store found with id" in message
